package gitops

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

// customization is an entry of argo-cd/argocd-cm.yaml.
func customization(t *testing.T, about, kind string) string {
	t.Helper()
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal(readFile(t, "argo-cd/argocd-cm.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	script, there := config.Data["resource.customizations."+about+".firebreak.dev_"+kind]
	if !there {
		t.Fatalf("argocd-cm.yaml says nothing about the %s of %s", about, kind)
	}
	return script
}

// run runs a script as Argo CD does: on the object as `obj`, without the libraries that reach the machine and without
// those for strings and numbers, for a second at most. Writes what it returns into result.
func run(t *testing.T, script string, on object, result any) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limit)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", luajson.DecodeValue(state, any(on)))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns a %s, and Argo CD expects a table", state.Get(-1).Type())
	}
	text, err := luajson.Encode(table)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, result); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
