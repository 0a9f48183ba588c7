package gitops

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// actions is what Argo CD reads from its entry.
type actions struct {
	Discovery   string       `json:"discovery.lua"`
	Definitions []definition `json:"definitions"`
}

type definition struct {
	Name   string `json:"name"`
	Action string `json:"action.lua"`
}

func actionsOfIncidents(t *testing.T) actions {
	t.Helper()
	var read actions
	if err := yaml.UnmarshalStrict([]byte(customization(t, "actions", "Incident")), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func (a actions) definition(t *testing.T, name string) string {
	t.Helper()
	for _, definition := range a.Definitions {
		if definition.Name == name {
			return definition.Action
		}
	}
	t.Fatalf("there is no action %s", name)
	return ""
}

// offered is which actions Argo CD offers for an object, and whether they can be chosen.
func offered(t *testing.T, on object) map[string]bool {
	t.Helper()
	var discovered map[string]struct{ Disabled bool }
	run(t, actionsOfIncidents(t).Discovery, on, &discovered)
	enabled := map[string]bool{}
	for name, action := range discovered {
		enabled[name] = !action.Disabled
	}
	return enabled
}

func withResponse(object object, response string) object {
	object["spec"].(map[string]any)["response"] = response
	return object
}

func TestAnActionIsOfferedWhenTheAPIServerAcceptsIt(t *testing.T) {
	cases := []struct {
		name     string
		incident object
		enabled  map[string]bool
	}{
		{"new", isNew(recordedIncident(t, "open")), map[string]bool{"pause": true, "resume": false, "withdraw": true}},
		{"open", recordedIncident(t, "open"), map[string]bool{"pause": true, "resume": false, "withdraw": true}},
		{"paused", recordedIncident(t, "paused"), map[string]bool{"pause": false, "resume": true, "withdraw": true}},
		{"closed", recordedIncident(t, "closed"), map[string]bool{"pause": false, "resume": false, "withdraw": false}},
		{"withdrawn", withResponse(recordedIncident(t, "open"), "Withdrawn"), map[string]bool{"pause": false, "resume": false, "withdraw": false}},
		{"kept", withResponse(recordedIncident(t, "open"), "Kept"), map[string]bool{"pause": false, "resume": false, "withdraw": false}},
	}
	for _, is := range cases {
		t.Run(is.name, func(t *testing.T) {
			if enabled := offered(t, is.incident); !reflect.DeepEqual(enabled, is.enabled) {
				t.Errorf("offered: %v; expected %v", enabled, is.enabled)
			}
		})
	}
}

func TestEveryOfferedActionIsDefined(t *testing.T) {
	defined := actionsOfIncidents(t)
	enabled := offered(t, recordedIncident(t, "open"))
	for name := range enabled {
		defined.definition(t, name)
	}
	if len(defined.Definitions) != len(enabled) {
		t.Errorf("%d actions are defined and %d offered", len(defined.Definitions), len(enabled))
	}
}

// plain is a text of a value in which an empty map is an empty list, as after Lua; Argo CD makes up for that.
func plain(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "{}", "[]")
}

// The name of the person who responded before must go: the API server would refuse to attribute this response to them.
func TestAnActionSetsTheResponseAndNothingElse(t *testing.T) {
	for action, response := range map[string]string{"pause": "Paused", "resume": "Active", "withdraw": "Withdrawn"} {
		t.Run(action, func(t *testing.T) {
			incident := recordedIncident(t, "paused")
			if incident["spec"].(object)["responseBy"] == nil {
				t.Fatal("nobody has responded to this Incident, so the test shows nothing")
			}
			var changed object
			run(t, actionsOfIncidents(t).definition(t, action), incident, &changed)
			expected := withResponse(recordedIncident(t, "paused"), response)
			delete(expected["spec"].(object), "responseBy")
			if got, want := plain(t, changed), plain(t, expected); got != want {
				t.Errorf("%s\nexpected\n%s", got, want)
			}
		})
	}
}
