package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"
)

func nodesCommand() *cobra.Command {
	t := newTestbed()
	g := &group{}
	var nodes, gpuNodes int
	cmd := &cobra.Command{
		Use:   "nodes --dir DIR --group NAME",
		Short: "Add nodes to a running testbed, print them as one line of JSON, remove them on SIGTERM or SIGINT",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			g.add(g.Name+"-", 0, nodes, false)
			g.add(g.Name+"-", nodes, gpuNodes, true)
			return t.serveGroup(g)
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.dir, "dir", "", "directory of the running testbed")
	f.StringVar(&g.Name, "group", "", "name of the nodes: NAME-0 ...; also the value of their label "+groupLabel)
	f.IntVar(&nodes, "nodes", 0, "number of nodes without GPU; they come first")
	f.IntVar(&gpuNodes, "gpu-nodes", 0, "number of nodes with 8 GPUs")
	f.StringToStringVar(&g.labels, "label", nil, "further label of all the nodes, as key=value (repeatable)")
	f.BoolVar(&t.untilStdinCloses, "until-stdin-closes", false, "stop also at the end of standard input")
	cmd.MarkFlagRequired("dir")
	cmd.MarkFlagRequired("group")
	return cmd
}

// serveGroup is the life of a group beside the default one. It keeps its thread
// for the same reason as up.
func (t *testbed) serveGroup(g *group) (err error) {
	runtime.LockOSThread()
	if problems := validation.IsDNS1123Label(g.Name); problems != nil {
		return errors.New("--group: " + strings.Join(problems, "; "))
	}
	if len(g.Nodes) == 0 {
		return errors.New("neither --nodes nor --gpu-nodes is given")
	}
	ctx, stop := t.untilTold()
	defer stop()
	alive, err := t.join()
	if err != nil {
		return err
	}
	context.AfterFunc(alive, stop)
	if err := t.claimGroup(g); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.leave(alive, g)) }()
	if err := t.startGroup(ctx, g); ctx.Err() != nil {
		return nil // told to stop while starting
	} else if err != nil {
		return err
	}
	line, err := t.describeGroup(g)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(line); err != nil {
		return err
	}
	return t.run(ctx)
}

func (t *testbed) startGroup(ctx context.Context, g *group) error {
	// What a killed predecessor left is in the way.
	if err := t.removeNodes(ctx, g.Name); err != nil {
		return err
	}
	if err := t.addNodes(ctx, g); err != nil {
		return err
	}
	return t.startAll(ctx, t.kwok(g))
}

// leave removes the group, unless the testbed itself has ended. The kubelet goes
// first, because it would report about nodes and pods that are being deleted.
func (t *testbed) leave(alive context.Context, g *group) error {
	t.killAll()
	g.claim.Truncate(0)
	os.Remove(t.path("scrape", g.Name+".json"))
	ctx, cancel := context.WithTimeout(alive, 10*time.Second)
	defer cancel()
	err := t.removeNodes(ctx, g.Name)
	if err == nil {
		return nil
	}
	// A dying API server closes its connections before its end is seen.
	select {
	case <-alive.Done():
		return nil
	case <-time.After(100 * time.Millisecond):
		return err
	}
}

// join prepares this process to work in the testbed that runs in the directory.
// The context ends with that testbed.
func (t *testbed) join() (context.Context, error) {
	if err := t.locate(); err != nil {
		return nil, err
	}
	// The file outlives a testbed that was killed, and the PID may have a new owner.
	var d description
	unknown := readJSON(t.path("testbed.json"), &d)
	apiserver, err := unix.PidfdOpen(d.PIDs["kube-apiserver"], 0)
	if errors.Join(unknown, err) != nil || !commandHas(d.PIDs["kube-apiserver"], t.dir+"/") {
		return nil, fmt.Errorf("no testbed runs in %s", t.dir)
	}
	alive, ended := context.WithCancel(context.Background())
	go func() {
		for err := error(unix.EINTR); err == unix.EINTR; {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(apiserver), Events: unix.POLLIN}}, -1)
		}
		ended()
	}()
	return alive, t.connect()
}

// signalGroupCommand stops or continues the process that plays the kubelets of
// a group, so that the real node controller sees silent nodes.
func signalGroupCommand(use, short string, signal syscall.Signal) *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{Use: use + " --dir DIR --group NAME", Short: short, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		// The file may be that of a process that was killed, and the PID may have a new owner.
		var g group
		err = readJSON(filepath.Join(dir, "groups", name+".json"), &g)
		if err != nil || !commandHas(g.PID, dir+"/", groupAnnotation+"="+name+"\x00") {
			return fmt.Errorf("no group %s runs in %s", name, dir)
		}
		return syscall.Kill(-g.PID, signal) // with the commands that its pods execute
	}}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the running testbed")
	cmd.Flags().StringVar(&name, "group", "", "name of the group")
	cmd.MarkFlagRequired("dir")
	cmd.MarkFlagRequired("group")
	return cmd
}

// commandHas tells whether the process exists and its command line has the texts.
func commandHas(pid int, texts ...string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	for _, text := range texts {
		if !strings.Contains(string(line), text) {
			return false
		}
	}
	return err == nil
}

func readJSON(file string, value any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(content, value)
}
