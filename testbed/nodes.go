package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/version"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const (
	// groupLabel on a node has the name of its group; groupAnnotation has it
	// too and tells which kwok process is the kubelet of the node.
	groupLabel      = "testbed.firebreak.dev/group"
	groupAnnotation = "kwok.x-k8s.io/node"

	defaultGroup = "default"
)

// group is a set of nodes with a kwok process of its own: freeze the process,
// and these nodes are dead machines. Its JSON is what `testbed nodes` prints and
// what DIR/groups/NAME.json has.
type group struct {
	Name  string   `json:"group"`
	Nodes []string `json:"nodes"`
	PID   int      `json:"pid"`

	labels map[string]string
	claim  *os.File // what has this JSON
	gpus   []string // those of the nodes that have GPUs
}

func (g *group) component() string { return "kwok-" + g.Name }

// add names further nodes of the group: the prefix and a number from first on.
func (g *group) add(prefix string, first, count int, gpu bool) {
	for i := range count {
		name := prefix + strconv.Itoa(first+i)
		g.Nodes = append(g.Nodes, name)
		if gpu {
			g.gpus = append(g.gpus, name)
		}
	}
}

// claimGroup makes sure that a group has one owner.
func (t *testbed) claimGroup(g *group) (err error) {
	if g.claim, err = t.claimFile("groups", g.Name+".json"); err != nil {
		return fmt.Errorf("another process runs the group %s: %w", g.Name, err)
	}
	if err := g.claim.Truncate(0); err != nil { // a killed predecessor left its description
		return err
	}
	return t.claimPort(g.component())
}

// addNodes makes the nodes of the group, which become ready when its kwok runs.
func (t *testbed) addNodes(ctx context.Context, g *group) error {
	if err := t.createNodes(ctx, g); err != nil {
		return err
	}
	return t.writeTargets(g)
}

func (t *testbed) createNodes(ctx context.Context, g *group) error {
	for _, name := range g.Nodes {
		manifest := "manifests/node.yaml"
		if slices.Contains(g.gpus, name) {
			manifest = "manifests/gpu-node.yaml"
		}
		var node corev1.Node
		content := fill(manifest, "${NAME}", name, "${VERSION}", version.Get().GitVersion)
		if err := yaml.UnmarshalStrict([]byte(content), &node); err != nil {
			return fmt.Errorf("%s: %w", manifest, err)
		}
		// A zone of its own keeps groups apart: the node controller stops evicting
		// pods in a zone where most nodes are dead.
		node.Labels[corev1.LabelTopologyZone] = g.Name
		maps.Copy(node.Labels, g.labels)
		node.Labels[groupLabel] = g.Name
		node.Annotations[groupAnnotation] = g.Name
		if _, err := t.client.CoreV1().Nodes().Create(ctx, &node, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// nodesReady is the condition that all nodes of the group take pods.
func (t *testbed) nodesReady(g *group) func(context.Context) error {
	return func(ctx context.Context) error {
		nodes, err := t.client.CoreV1().Nodes().List(ctx, ofGroup(g.Name))
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			if !takesPods(&node) {
				return fmt.Errorf("%s is not ready", node.Name)
			}
		}
		return nil
	}
}

func ofGroup(name string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: groupLabel + "=" + name}
}

func takesPods(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			repelled := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoSchedule })
			return !repelled && node.Spec.PodCIDR != ""
		}
	}
	return false
}

// removeNodes deletes the nodes of a group and what belonged to them. Without
// a kubelet their pods would stay for a minute and their leases would keep the
// next kubelet of a node with the same name waiting.
func (t *testbed) removeNodes(ctx context.Context, name string) error {
	core := t.client.CoreV1()
	nodes, err := core.Nodes().List(ctx, ofGroup(name))
	if err != nil || len(nodes.Items) == 0 {
		return err
	}
	if err := core.Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, ofGroup(name)); err != nil {
		return err
	}
	for _, node := range nodes.Items {
		lease := t.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, node.Name, metav1.DeleteOptions{})
		if err := errors.Join(ignoreNotFound(lease), t.removePods(ctx, node.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (t *testbed) removePods(ctx context.Context, node string) error {
	pods, err := t.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		now := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
		if err := t.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, now); ignoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// writeTargets tells Prometheus where the metrics of the nodes are.
func (t *testbed) writeTargets(g *group) error {
	type target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var targets []target
	add := func(nodes []string, metrics string) {
		for _, node := range nodes {
			targets = append(targets, target{[]string{"127.0.0.1:" + t.port(g.component())}, map[string]string{
				"node": node, "metrics_name": metrics, "__metrics_path__": "/metrics/nodes/" + node + "/metrics/" + metrics}})
		}
	}
	add(g.Nodes, "resource")
	add(g.gpus, "dcgm")
	content, err := json.Marshal(targets)
	if err != nil {
		return err
	}
	// Prometheus looks at once when a file changes, and must find all of it.
	file := t.path("scrape", g.Name+".json")
	if err := os.WriteFile(file+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// describeGroup makes the group known to nodes-down and nodes-up.
func (t *testbed) describeGroup(g *group) ([]byte, error) {
	for _, p := range t.processes {
		if p.name == g.component() {
			g.PID = p.cmd.Process.Pid
		}
	}
	line, err := jsonLine(g)
	if err != nil {
		return nil, err
	}
	_, err = g.claim.Write(line)
	return line, err
}
