package dashboard

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Where the chart has it.
const committed = "../../charts/firebreak/files/dashboards/firebreak.json"

func generated(t *testing.T) []byte {
	t.Helper()
	built, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// With FIREBREAK_GENERATE it writes the dashboard, as `make generate` does.
func TestTheCommittedDashboardIsTheGeneratedOne(t *testing.T) {
	want := generated(t)
	if os.Getenv("FIREBREAK_GENERATE") != "" {
		if err := os.WriteFile(committed, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatalf("%s is not what is generated: run `make generate`", committed)
	}
}

// schemaErrors are what Grafana's own schema of dashboards has against a text: fields that it does not know, values
// that it does not allow.
func schemaErrors(text []byte) error {
	var read dashboard.Dashboard
	err := read.UnmarshalJSONStrict(text)
	// The generated code returns an empty list in place of nil.
	if list, ok := err.(cog.BuildErrors); err != nil && (!ok || len(list) > 0) {
		return err
	}
	return read.Validate()
}

func TestTheCommittedDashboardFollowsTheSchemaOfGrafana(t *testing.T) {
	text, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if err := schemaErrors(text); err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(text, []byte(`"gridPos"`), []byte(`"gridPosition"`), 1)
	if err := schemaErrors(wrong); err == nil {
		t.Fatal("a panel with an unknown field follows the schema, so this test shows nothing")
	}
}

func TestThePanelsHaveUniquePlacesAndTitlesAndFitTheGrid(t *testing.T) {
	built, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	places, titles := map[[2]uint32]string{}, map[string]bool{}
	for _, entry := range built.Panels {
		panel := entry.Panel
		if panel == nil {
			continue
		}
		title, at := *panel.Title, panel.GridPos
		if other, taken := places[[2]uint32{at.X, at.Y}]; taken {
			t.Errorf("%q is where %q is", title, other)
		}
		if at.X+at.W > width {
			t.Errorf("%q is wider than its row", title)
		}
		if titles[title] {
			t.Errorf("two panels are called %q", title)
		}
		places[[2]uint32{at.X, at.Y}], titles[title] = title, true
	}
	if len(places) < 25 {
		t.Errorf("only %d panels", len(places))
	}
}
