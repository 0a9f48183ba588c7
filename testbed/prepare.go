package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// prepare makes everything that the components find when they start.
func (t *testbed) prepare() error {
	if err := t.locate(); err != nil {
		return err
	}
	if err := t.claimDir(); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
		"metrics-server", "prometheus", "alertmanager"} {
		if err := t.claimPort(name); err != nil {
			return err
		}
	}
	if err := t.claimGroup(&t.defaultGroup); err != nil {
		return err
	}
	if t.withRealNode {
		if err := t.prepareRealNode(); err != nil {
			return err
		}
	}
	apiserver := t.url("https", "kube-apiserver", "")
	if err := t.pki.create(apiserver); err != nil {
		return err
	}
	if err := t.pki.writeKubeconfig(t.path("kubeconfig"), apiserver, "admin"); err != nil {
		return err
	}
	if err := t.writeConfigs(); err != nil {
		return err
	}
	return t.connect()
}

// locate finds what does not depend on whether the testbed runs already.
func (t *testbed) locate() (err error) {
	if t.executable, err = os.Executable(); err != nil {
		return err
	}
	if t.dir, err = filepath.Abs(t.dir); err != nil {
		return err
	}
	t.pki = pki(t.path("pki"))
	return nil
}

func (t *testbed) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", t.path("kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS = -1
	if t.http, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	t.client, err = kubernetes.NewForConfigAndClient(config, t.http)
	return err
}

// claimDir takes the directory for this testbed alone and clears what an
// earlier one left there, but nothing that was there before the first.
func (t *testbed) claimDir() error {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	cleared := []string{"data", "groups", "log", "pki", "scrape"}
	if _, err := os.Stat(t.path("testbed.lock")); err != nil {
		for _, name := range cleared {
			if err := os.Mkdir(t.path(name), 0o755); err != nil {
				return err
			}
		}
	}
	if _, err := t.claimFile("testbed.lock"); err != nil {
		return fmt.Errorf("another testbed runs in %s: %w", t.dir, err)
	}
	for _, name := range cleared {
		if err := os.RemoveAll(t.path(name)); err != nil {
			return err
		}
	}
	for _, name := range append(cleared, "pods", "rules", "targets") {
		if err := os.MkdirAll(t.path(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// claimFile takes a file until the end of this process; a killed process leaves
// the file, but not the claim.
func (t *testbed) claimFile(names ...string) (*os.File, error) {
	file, err := os.OpenFile(t.path(names...), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	t.claims = append(t.claims, file)
	return file, syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// claimPort chooses a free port below the range that the kernel gives to
// outgoing connections. The abstract socket keeps other testbeds away until the
// component listens.
func (t *testbed) claimPort(name string) error {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		claim, err := net.Listen("unix", fmt.Sprintf("@testbed-port-%d", port))
		if err != nil {
			continue
		}
		probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			claim.Close()
			continue
		}
		probe.Close()
		t.claims = append(t.claims, claim)
		t.ports[name] = port
		return nil
	}
	return errors.New("no free port between 20000 and 32000")
}

func (t *testbed) path(names ...string) string {
	return filepath.Join(append([]string{t.dir}, names...)...)
}

func (t *testbed) port(name string) string { return strconv.Itoa(t.ports[name]) }

func (t *testbed) url(scheme, name, path string) string {
	return scheme + "://127.0.0.1:" + t.port(name) + path
}
