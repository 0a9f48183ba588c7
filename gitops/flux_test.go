package gitops

import (
	"bytes"
	"context"
	"os"
	"testing"

	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomize "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// What Flux says of an object.
const (
	current    = "Current"
	inProgress = "InProgress"
	failed     = "Failed"
	// The expressions need a status. Flux waits for it.
	noStatus = "no status"
)

func policies(t *testing.T) kustomize.Kustomization {
	t.Helper()
	var read kustomize.Kustomization
	if err := yaml.UnmarshalStrict(readFile(t, "flux/policies.yaml"), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// health evaluates the expressions for the kind of the object, with the code of Flux.
func health(t *testing.T, of object) string {
	t.Helper()
	for _, check := range policies(t).Spec.HealthCheckExprs {
		if check.APIVersion != of["apiVersion"] || check.Kind != of["kind"] {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			t.Fatal(err)
		}
		result, err := evaluator.Evaluate(context.Background(), &unstructured.Unstructured{Object: whole(t, of)})
		if err != nil {
			if of["status"] != nil {
				t.Fatal(err)
			}
			return noStatus
		}
		return result.Status.String()
	}
	t.Fatalf("flux/policies.yaml has no expressions for %v %v", of["apiVersion"], of["kind"])
	return ""
}

// whole is the object as a client of Kubernetes reads it, with whole numbers.
func whole(t *testing.T, object object) object {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var read unstructured.Unstructured
	if err := read.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	return read.Object
}

func TestHealthInFlux(t *testing.T) {
	cases := []struct {
		name   string
		object object
		status string
	}{
		{"a policy that was just created", isNew(recordedPolicy(t, "closed")), noStatus},
		{"an edited policy", isEdited(recordedPolicy(t, "closed")), inProgress},
		{"a policy that watches", recordedPolicy(t, "closed"), current},
		{"a policy with an open Incident", recordedPolicy(t, "open"), current},
		{"a policy that is not Accepted", notReady(t, "invalid"), failed},
		{"a policy without rights", notReady(t, "forbidden"), failed},
		{"a policy whose signal is Unknown", notReady(t, "unknown"), inProgress},
		{"a suspended policy", notReady(t, "suspended"), current},

		{"an Incident that was just created", isNew(recordedIncident(t, "open")), noStatus},
		{"an edited Incident", isEdited(recordedIncident(t, "closed")), inProgress},
		{"an Incident that remediates", recordedIncident(t, "open"), inProgress},
		{"an Incident that verifies", recordedIncident(t, "pods"), inProgress},
		{"an Incident that reverts", recordedIncident(t, "reverting"), inProgress},
		{"an Incident whose steps are used up", recordedIncident(t, "effect"), failed},
		{"an Incident that waits for approval", recordedIncident(t, "approval"), failed},
		{"a paused Incident", recordedIncident(t, "paused"), failed},
		{"a closed Incident", recordedIncident(t, "closed"), current},
		{"a withdrawn Incident", recordedIncident(t, "waiting"), current},
	}
	for _, is := range cases {
		t.Run(is.name, func(t *testing.T) {
			if status := health(t, is.object); status != is.status {
				t.Errorf("%s; expected %s", status, is.status)
			}
		})
	}
}

// The API types of Flux refuse a field that they do not have.
func TestTheManifestsOfFluxFitItsAPI(t *testing.T) {
	var repository source.GitRepository
	var release helm.HelmRelease
	documents := bytes.Split(readFile(t, "flux/helmrelease.yaml"), []byte("\n---\n"))
	if len(documents) != 2 {
		t.Fatalf("%d documents", len(documents))
	}
	for document, into := range []any{&repository, &release} {
		if err := yaml.UnmarshalStrict(documents[document], into); err != nil {
			t.Fatal(err)
		}
	}
	if of := release.Spec.Chart.Spec.SourceRef; of.Kind != "GitRepository" || of.Name != repository.Name {
		t.Errorf("the chart comes from %s %s", of.Kind, of.Name)
	}
	for _, path := range []string{release.Spec.Chart.Spec.Chart, policies(t).Spec.Path} {
		if _, err := os.Stat("../" + path); err != nil {
			t.Error(err)
		}
	}
	if of := policies(t).Spec.SourceRef; of.Kind != "GitRepository" || of.Name != repository.Name {
		t.Errorf("the policies come from %s %s", of.Kind, of.Name)
	}
}
