// Package dashboard makes the Grafana dashboard of the chart. panels.go says what it shows.
package dashboard

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

const docs = "https://github.com/firebreak-dev/firebreak/blob/main/docs/"

// The width of a dashboard, in the units of its grid.
const width = 24

// row is a heading and the panels below it.
type row struct {
	title  string
	panels []panel
}

// panel is what every kind of panel becomes. Its width is a share of the row.
type panel = cog.Builder[dashboard.Panel]

// Build makes the dashboard.
func Build() (dashboard.Dashboard, error) {
	builder := dashboard.NewDashboardBuilder("Firebreak").
		Uid("firebreak").
		Description("Emergencies, what Firebreak does about them, and the operator itself.").
		Tags([]string{"firebreak"}).
		Time("now-3h", "now").
		Refresh("30s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Readonly().
		Link(link("Conditions: what to do", "conditions.md")).
		Link(link("Respond to an Incident", "responding.md")).
		Link(link("Metrics and alerts", "monitoring.md")).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		// Not everybody has this label, so all clusters are also what has none.
		WithVariable(labelVariable("cluster", "Cluster").AllValue(".*")).
		// All jobs are those of Firebreak: other operators have some of the same families.
		WithVariable(labelVariable("job", "Job")).
		Annotation(annotation("Open Incidents", "orange", open("severity"), "{{severity}} open")).
		Annotation(annotation("Stalled Incidents", "red", held("Stalled"), "{{severity}} Stalled: {{reason}}")).
		Annotation(annotation("Change of the leader", "blue", leaderChanges, "a replica starts to lead"))
	for _, row := range rows() {
		builder.WithRow(dashboard.NewRowBuilder(row.title))
		for _, panel := range row.panels {
			builder.WithPanel(panel)
		}
	}
	return builder.Build()
}

func link(title, page string) cog.Builder[dashboard.DashboardLink] {
	return dashboard.NewDashboardLinkBuilder(title).
		Type(dashboard.DashboardLinkTypeLink).Icon("doc").Url(docs + page).TargetBlank(true)
}

// labelVariable selects by a label that Prometheus or its configuration adds.
func labelVariable(name, label string) *dashboard.QueryVariableBuilder {
	query := "label_values(firebreak_ready, " + name + ")"
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Datasource(source()).
		Query(dashboard.StringOrMap{String: cog.ToPtr(query)}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).
		Current(dashboard.VariableOption{
			Selected: cog.ToPtr(true),
			Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

// annotation marks the time in which an expression has a value.
func annotation(name, color, expression, text string) cog.Builder[dashboard.AnnotationQuery] {
	return dashboard.NewAnnotationQueryBuilder().
		Name(name).Enable(true).IconColor(color).
		Datasource(source()).
		Expr(expression).TitleFormat(name).TextFormat(text)
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("$datasource")}
}

// query is one expression of a panel and the name of its series.
type query struct {
	expression string
	legend     string
}

// target is a query over time.
func (q query) target() cog.Builder[variants.Dataquery] {
	return prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Range()
}

// value is a query for the newest value.
func (q query) value() cog.Builder[variants.Dataquery] {
	return prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Instant()
}
