package main

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// component is one process of the testbed.
type component struct {
	name    string // in logs and in the description
	program string // found beside this binary or in PATH
	args    []string
	ready   func(context.Context) error
}

func (t *testbed) etcd() component {
	return component{"etcd", "etcd", []string{
		"--data-dir=" + t.path("data", "etcd"),
		"--listen-client-urls=" + t.url("http", "etcd", ""),
		"--advertise-client-urls=" + t.url("http", "etcd", ""),
		"--listen-peer-urls=" + t.url("http", "etcd-peer", ""),
		"--initial-advertise-peer-urls=" + t.url("http", "etcd-peer", ""),
		"--initial-cluster=default=" + t.url("http", "etcd-peer", ""),
		"--unsafe-no-fsync", // nothing here has to survive a power cut
		"--log-level=warn",
	}, t.answers(t.url("http", "etcd", "/health"))}
}

func (t *testbed) apiserver() component {
	return component{"kube-apiserver", "kube-apiserver", append([]string{
		"--etcd-servers=" + t.url("http", "etcd", ""),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // a loopback address is no legal endpoint
		"--secure-port=" + t.port("kube-apiserver"),
		"--tls-cert-file=" + t.pki.cert("server"),
		"--tls-private-key-file=" + t.pki.key("server"),
		"--client-ca-file=" + t.pki.cert("ca"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + t.pki.cert("service-accounts"),
		"--service-account-signing-key-file=" + t.pki.key("service-accounts"),
		"--kubelet-client-certificate=" + t.pki.cert("apiserver-kubelet-client"),
		"--kubelet-client-key=" + t.pki.key("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--requestheader-client-ca-file=" + t.pki.cert("front-proxy-ca"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + t.pki.cert("front-proxy-client"),
		"--proxy-client-key-file=" + t.pki.key("front-proxy-client"),
	}, t.apiserverArgs...), t.answers(t.url("https", "kube-apiserver", "/readyz"))}
}

// controllerManager is ready when it has made what every pod needs.
func (t *testbed) controllerManager() component {
	args := append(t.controllerArgs("kube-controller-manager"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+t.pki.key("service-accounts"),
		"--root-ca-file="+t.pki.cert("ca"),
		"--cluster-signing-cert-file="+t.pki.cert("ca"),
		"--cluster-signing-key-file="+t.pki.key("ca"),
		"--allocate-node-cidrs=true", // else the pods of all nodes get IPs from one range, twice
		"--cluster-cidr=10.128.0.0/9",
		"--node-monitor-period=1s",
		"--node-monitor-grace-period=16s", // the leases are renewed every 2 s
		"--horizontal-pod-autoscaler-sync-period=5s",
	)
	return component{"kube-controller-manager", "kube-controller-manager", append(args, t.kcmArgs...), func(ctx context.Context) error {
		_, err := t.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}}
}

func (t *testbed) scheduler() component {
	return component{"kube-scheduler", "kube-scheduler", t.controllerArgs("kube-scheduler"),
		t.answers(t.url("https", "kube-scheduler", "/healthz"))}
}

// controllerArgs are common to the processes that act through the API. Their
// default limit of 20 requests per second would dominate large tests.
func (t *testbed) controllerArgs(name string) []string {
	return []string{
		"--kubeconfig=" + t.pki.kubeconfig(name),
		"--authentication-kubeconfig=" + t.pki.kubeconfig(name),
		"--authorization-kubeconfig=" + t.pki.kubeconfig(name),
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
		"--bind-address=127.0.0.1",
		"--secure-port=" + t.port(name),
		"--tls-cert-file=" + t.pki.cert("server"),
		"--tls-private-key-file=" + t.pki.key("server"),
		"--leader-elect=false",
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	}
}

// kwok is the kubelet of the nodes of a group.
func (t *testbed) kwok(g *group) component {
	return component{g.component(), "kwok", []string{
		"--kubeconfig=" + t.pki.kubeconfig("kwok"),
		"--config=" + t.path("kwok.yaml"),
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=" + groupAnnotation + "=" + g.Name,
		"--node-ip=127.0.0.1",
		"--node-name=localhost",
		"--node-port=" + t.port(g.component()),
		"--server-address=127.0.0.1:" + t.port(g.component()),
		"--node-lease-duration-seconds=8",
		"--v=ERROR", // it warns about every node without pods at every scrape
		"--tls-cert-file=" + t.pki.cert("server"),
		"--tls-private-key-file=" + t.pki.key("server"),
	}, t.nodesReady(g)}
}

func (t *testbed) metricsServer() component {
	return component{"metrics-server", "metrics-server", []string{
		"--kubeconfig=" + t.pki.kubeconfig("admin"),
		"--authentication-kubeconfig=" + t.pki.kubeconfig("admin"),
		"--authorization-kubeconfig=" + t.pki.kubeconfig("admin"),
		"--bind-address=127.0.0.1",
		"--secure-port=" + t.port("metrics-server"),
		"--tls-cert-file=" + t.pki.cert("server"),
		"--tls-private-key-file=" + t.pki.key("server"),
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-use-node-status-port",
		"--kubelet-insecure-tls",
		"--kubelet-request-timeout=5s",
		"--metric-resolution=10s", // the shortest that it accepts
	}, t.nodeMetricsServed}
}

func (t *testbed) prometheus() component {
	return component{"prometheus", "prometheus", []string{
		"--config.file=" + t.path("prometheus.yml"),
		"--storage.tsdb.path=" + t.path("data", "prometheus"),
		"--web.listen-address=127.0.0.1:" + t.port("prometheus"),
		"--web.enable-lifecycle",
		"--rules.alert.resend-delay=5s", // the first alert may be sent before Alertmanager is known
	}, t.answers(t.url("http", "prometheus", "/-/ready"))}
}

func (t *testbed) alertmanager() component {
	return component{"alertmanager", "alertmanager", []string{
		"--config.file=" + t.path("alertmanager.yml"),
		"--storage.path=" + t.path("data", "alertmanager"),
		"--web.listen-address=127.0.0.1:" + t.port("alertmanager"),
		"--cluster.listen-address=",
	}, t.answers(t.url("http", "alertmanager", "/-/ready"))}
}
