package gitops

import (
	"os"
	"testing"

	"sigs.k8s.io/yaml"
)

// The Application names what the repository and the manifests of the operator have. Its schema is not tested: the types
// of Argo CD need modules that replace others.
func TestTheApplicationInstallsTheChartIntoTheNamespaceOfTheOperator(t *testing.T) {
	var application struct {
		Spec struct {
			Source      struct{ Path string }
			Destination struct{ Namespace string }
		}
	}
	if err := yaml.Unmarshal(readFile(t, "argo-cd/application.yaml"), &application); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("../" + application.Spec.Source.Path); err != nil {
		t.Error(err)
	}
	var namespace struct{ Metadata struct{ Name string } }
	if err := yaml.Unmarshal(readFile(t, "../deploy/namespace.yaml"), &namespace); err != nil {
		t.Fatal(err)
	}
	if got, want := application.Spec.Destination.Namespace, namespace.Metadata.Name; got != want {
		t.Errorf("the Application installs into %s, and the operator expects %s", got, want)
	}
}
