// Testbed is a real Kubernetes control plane for tests and demos, started with
// one command and without containers.
//
// It is a multi-call binary: called as etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet or kubectl (by a symlink or
// by the first argument) it is exactly that program. `testbed up` starts them as
// separate processes, since several of them in one process would share feature
// gates and metric registries.
package main

import (
	"os"
	"path/filepath"
	"syscall"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var programs = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllers.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubectl":                 func() int { return cli.Run(kubectl.NewDefaultKubectlCommand()) },
}

func main() {
	if program, ok := programs[filepath.Base(os.Args[0])]; ok {
		os.Exit(program())
	}
	if len(os.Args) > 1 {
		if program, ok := programs[os.Args[1]]; ok {
			os.Args = os.Args[1:]
			os.Exit(program())
		}
	}
	root := &cobra.Command{
		Use:          "testbed",
		Short:        "A real Kubernetes control plane for tests",
		Long:         "A real Kubernetes control plane for tests. Also: testbed etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kubectl ...",
		SilenceUsage: true,
	}
	root.AddCommand(
		upCommand(),
		nodesCommand(),
		signalGroupCommand("nodes-down", "Freeze the nodes of a group, as if their machines had died", syscall.SIGSTOP),
		signalGroupCommand("nodes-up", "Bring the nodes of a group back", syscall.SIGCONT),
	)
	if root.Execute() != nil {
		os.Exit(1)
	}
}
