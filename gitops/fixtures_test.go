// Package gitops tests the files that Flux and Argo CD use, with the code that Flux and Argo CD use, on objects as the
// operator has stored them: tests/live/upgrade/fixtures, and testdata/policies.json for policies that are not Ready.
package gitops

import (
	"encoding/json"
	"os"
	"testing"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// recorded is the response of a fixture: the policy and its only Incident.
func recorded(t *testing.T, name string) (policy, incident object) {
	t.Helper()
	var fixture struct {
		Policy    object
		Incidents []object
	}
	path := "../tests/live/upgrade/fixtures/" + name + ".json"
	if err := json.Unmarshal(readFile(t, path), &fixture); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(fixture.Incidents) != 1 {
		t.Fatalf("%s has %d Incidents", path, len(fixture.Incidents))
	}
	return fixture.Policy, fixture.Incidents[0]
}

func recordedIncident(t *testing.T, name string) object {
	t.Helper()
	_, incident := recorded(t, name)
	return incident
}

func recordedPolicy(t *testing.T, name string) object {
	t.Helper()
	policy, _ := recorded(t, name)
	return policy
}

// notReady is a policy of policies.json.
func notReady(t *testing.T, name string) object {
	t.Helper()
	var list struct{ Items []object }
	if err := yaml.Unmarshal(readFile(t, "testdata/policies.json"), &list); err != nil {
		t.Fatal(err)
	}
	for _, policy := range list.Items {
		if policy["metadata"].(object)["name"] == name {
			return policy
		}
	}
	t.Fatalf("testdata/policies.json has no policy %s", name)
	return nil
}

// isNew takes an object back to the moment at which it was created.
func isNew(object object) object {
	delete(object, "status")
	return object
}

// isEdited gives an object a generation that nobody has observed.
func isEdited(object object) object {
	metadata := object["metadata"].(map[string]any)
	metadata["generation"] = metadata["generation"].(float64) + 1
	return object
}
