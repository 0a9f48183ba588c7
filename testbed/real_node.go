package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// realNode is the name of the node that is not simulated.
	realNode = "real"

	// realNodeAddress is set by isolate.sh, and so is the cluster IP of the API server.
	realNodeAddress = "10.98.0.1"

	// sandboxImage is what holds the namespaces of a pod. Whoever starts the testbed
	// loads it, as all images: there is no registry.
	sandboxImage = "testbed.firebreak.dev/model-server:1"
)

// prepareRealNode makes what containerd and the kubelet find when they start.
// Pods reach the API server at the port of its Service: it has the cluster IP,
// and so needs no kube-proxy.
func (t *testbed) prepareRealNode() error {
	cgroup := os.Getenv("FIREBREAK_CGROUP")
	if cgroup == "" {
		return errors.New("a real node changes the machine that it runs on: start the testbed with isolate.sh")
	}
	t.ports["kube-apiserver"] = 443
	t.apiserverArgs = append([]string{"--bind-address=0.0.0.0"}, t.apiserverArgs...)
	values := []string{"${DIR}", t.dir, "${CGROUP}", cgroup, "${SANDBOX}", sandboxImage, "${TOOLS}", filepath.Dir(t.executable)}
	for manifest, file := range map[string]string{
		"containerd.toml": t.path("containerd", "config.toml"),
		"cni.conflist":    t.path("cni", "pods.conflist"),
		"kubelet.yaml":    t.path("kubelet.yaml"),
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(fill("manifests/"+manifest, values...)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (t *testbed) containerd() component {
	return component{"containerd", "containerd", []string{"--config=" + t.path("containerd", "config.toml")}, t.containerdListens}
}

func (t *testbed) containerdListens(ctx context.Context) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", "/run/containerd/containerd.sock")
	if err != nil {
		return err
	}
	return connection.Close()
}

func (t *testbed) kubelet() component {
	return component{"kubelet", "kubelet", []string{
		"--config=" + t.path("kubelet.yaml"),
		"--kubeconfig=" + t.pki.kubeconfig("kubelet"),
		"--hostname-override=" + realNode,
		"--node-ip=" + realNodeAddress,
		"--root-dir=" + t.path("kubelet"),
	}, t.realNodeTakesPods}
}

func (t *testbed) realNodeTakesPods(ctx context.Context) error {
	node, err := t.client.CoreV1().Nodes().Get(ctx, realNode, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !takesPods(node) {
		return fmt.Errorf("%s is not ready", node.Name)
	}
	return nil
}
