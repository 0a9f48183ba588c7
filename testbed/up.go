package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
)

// testbed is one cluster: what was asked for, and what runs.
type testbed struct {
	dir                               string
	defaultGroup                      group
	withMetricsServer, withPrometheus bool
	withRealNode                      bool
	untilStdinCloses                  bool
	apiserverArgs, kcmArgs            []string

	executable string
	pki        pki
	ports      map[string]int
	claims     []io.Closer // kept open, so that no other testbed takes the directory or ports
	client     *kubernetes.Clientset
	http       *http.Client
	processes  []*process
	ended      chan *process
}

// description is what `up` prints. While it runs, DIR/testbed.json has it too.
type description struct {
	Kubeconfig   string         `json:"kubeconfig"`
	APIServer    string         `json:"apiserver"`
	CA           string         `json:"ca"`
	ClientCert   string         `json:"clientCert"`
	ClientKey    string         `json:"clientKey"`
	Kwok         string         `json:"kwok"`
	PIDs         map[string]int `json:"pids"`
	Prometheus   string         `json:"prometheus,omitempty"`
	Alertmanager string         `json:"alertmanager,omitempty"`
}

func newTestbed() *testbed {
	return &testbed{ports: map[string]int{}, ended: make(chan *process, 16), defaultGroup: group{Name: defaultGroup}}
}

func upCommand() *cobra.Command {
	t := newTestbed()
	var nodes, gpuNodes int
	cmd := &cobra.Command{
		Use:   "up --dir DIR",
		Short: "Start a cluster, print its description as one line of JSON, run until SIGTERM or SIGINT",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t.defaultGroup.add("node-", 0, nodes, false)
			t.defaultGroup.add("gpu-", 0, gpuNodes, true)
			return t.up()
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.dir, "dir", "", "directory for all files; data/, log/ and pki/ in it start empty")
	f.IntVar(&nodes, "nodes", 3, "simulated nodes without GPU: node-0 ...")
	f.IntVar(&gpuNodes, "gpu-nodes", 0, "simulated nodes with 8 GPUs: gpu-0 ...")
	f.BoolVar(&t.withRealNode, "real-node", false, "run also a node that is not simulated, with containerd and a kubelet; needs isolate.sh")
	f.BoolVar(&t.withMetricsServer, "metrics-server", false, "serve metrics.k8s.io, for autoscalers and kubectl top")
	f.BoolVar(&t.withPrometheus, "prometheus", false, "run Prometheus (rules in DIR/rules, targets in DIR/targets) and Alertmanager")
	f.BoolVar(&t.untilStdinCloses, "until-stdin-closes", false, "stop also at the end of standard input")
	f.StringArrayVar(&t.apiserverArgs, "apiserver-arg", nil, "further flag of kube-apiserver (repeatable)")
	f.StringArrayVar(&t.kcmArgs, "kcm-arg", nil, "further flag of kube-controller-manager (repeatable)")
	cmd.MarkFlagRequired("dir")
	return cmd
}

// up runs the cluster from start to end. It keeps its thread, because the
// kernel kills the children when the thread that started them is gone.
func (t *testbed) up() error {
	runtime.LockOSThread()
	ctx, stop := t.untilTold()
	defer stop()
	if err := t.prepare(); err != nil {
		return err
	}
	defer t.killAll()
	defer os.Remove(t.path("testbed.json"))
	if err := t.startCluster(ctx); ctx.Err() != nil {
		return nil // told to stop while starting
	} else if err != nil {
		return err
	}
	if _, err := t.describeGroup(&t.defaultGroup); err != nil {
		return err
	}
	if err := t.describe(); err != nil {
		return err
	}
	return t.run(ctx)
}

// untilTold is the context of a command that runs until the user ends it.
func (t *testbed) untilTold() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	if t.untilStdinCloses {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	return ctx, stop
}

// run waits until the context is done, which is the good end, or any process.
func (t *testbed) run(ctx context.Context) error {
	select {
	case p := <-t.ended:
		return p.failure("ended")
	case <-ctx.Done():
		return nil
	}
}

func (t *testbed) startCluster(ctx context.Context) error {
	first := []component{t.etcd(), t.apiserver()}
	if t.withRealNode {
		first = append(first, t.containerd())
	}
	if err := t.startAll(ctx, first...); err != nil {
		return err
	}
	if err := t.addNodes(ctx, &t.defaultGroup); err != nil {
		return err
	}
	others := []component{t.controllerManager(), t.scheduler(), t.kwok(&t.defaultGroup)}
	if t.withRealNode {
		others = append(others, t.kubelet())
	}
	if t.withPrometheus {
		others = append(others, t.prometheus(), t.alertmanager())
	}
	if t.withMetricsServer {
		if err := t.announceMetricsServer(ctx); err != nil {
			return err
		}
		others = append(others, t.metricsServer())
	}
	return t.startAll(ctx, others...)
}

func (t *testbed) describe() error {
	d := description{
		Kubeconfig: t.path("kubeconfig"),
		APIServer:  t.url("https", "kube-apiserver", ""),
		CA:         t.pki.cert("ca"),
		ClientCert: t.pki.cert("admin"),
		ClientKey:  t.pki.key("admin"),
		Kwok:       t.url("http", t.defaultGroup.component(), ""),
		PIDs:       map[string]int{},
	}
	for _, p := range t.processes {
		d.PIDs[p.name] = p.cmd.Process.Pid
	}
	if t.withPrometheus {
		d.Prometheus, d.Alertmanager = t.url("http", "prometheus", ""), t.url("http", "alertmanager", "")
	}
	line, err := jsonLine(d)
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.path("testbed.json"), line, 0o644); err != nil {
		return err
	}
	_, err = os.Stdout.Write(line)
	return err
}

func jsonLine(value any) ([]byte, error) {
	line, err := json.Marshal(value)
	return append(line, '\n'), err
}
