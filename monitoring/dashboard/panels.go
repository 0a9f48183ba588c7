package dashboard

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// selected picks the series of the chosen cluster and job, and of more labels.
func selected(metric string, more ...string) string {
	labels := append([]string{`cluster=~"$cluster"`, `job=~"$job"`}, more...)
	return metric + "{" + strings.Join(labels, ",") + "}"
}

// open counts the open Incidents by a label. All replicas count the same Incidents.
func open(label string) string {
	return fmt.Sprintf("sum by (%s) (max by (cluster, namespace, severity, phase) (%s)) > 0", label, selected("firebreak_incidents"))
}

// held counts the open Incidents that something holds, as a condition says.
func held(condition string) string {
	return "max by (cluster, namespace, severity, reason) (" +
		selected("firebreak_incidents_held", `condition="`+condition+`"`) + ") > 0"
}

var leaderChanges = "sum(changes(" + selected("leader_election_master_status", `name="firebreak"`) +
	"[$__rate_interval])) > 0"

// outstanding is the number of changes in force. All replicas count the same changes.
var outstanding = "sum(max by (cluster, namespace) (" + selected("firebreak_changes_outstanding") + "))"

// rate is the number per second, by labels.
func rate(by, metric string, more ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, selected(metric, more...))
}

// increase is the number within the time that a point stands for, by labels.
func increase(by, metric string) string {
	return fmt.Sprintf("sum by (%s) (increase(%s[$__rate_interval]))", by, selected(metric))
}

// quantile is a quantile of a histogram over a time.
func quantile(q float64, by, metric, over string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s[%s])))", q, by, selected(metric+"_bucket"), over)
}

// rows is what the dashboard shows, from top to bottom.
func rows() []row {
	return []row{
		{"Now", []panel{
			number("Open Incidents", "sum(max by (cluster, namespace, severity, phase) ("+selected("firebreak_incidents")+")) or vector(0)", "orange"),
			number("Stalled: a person must act", "sum("+held("Stalled")+") or vector(0)", "red"),
			number("Changes in force", outstanding, "orange"),
			number("Brake", "max("+selected("firebreak_brake_engaged")+")", "red"),
			number("Policies that are not Ready", `sum(max by (cluster, namespace, mode, reason) (`+selected("firebreak_policies", `ready!="True"`)+`)) or vector(0)`, "orange"),
			number("Replicas that are not ready", "count("+selected("firebreak_ready")+" == 0) or vector(0)", "red"),
		}},
		{"Incidents", []panel{
			graph("Open Incidents by severity", "", 8, query{open("severity"), "{{severity}}"}),
			graph("Open Incidents by phase", "", 8, query{open("phase"), "{{phase}}"}),
			graph("What holds Incidents", "", 8,
				query{held("Stalled"), "Stalled, {{severity}}: {{reason}}"},
				query{held("Reconciling"), "waits, {{severity}}: {{reason}}"}),
			graph("Age of the oldest open Incident", "s", 8, query{
				"time() - min by (severity) (" + selected("firebreak_incidents_oldest_opened_timestamp_seconds") + ")", "{{severity}}"}),
			graph("Policies by the condition Ready", "", 8, query{
				"max by (mode, ready, reason) (" + selected("firebreak_policies") + ")", "{{mode}}, Ready={{ready}}: {{reason}}"}),
			graph("Signals", "", 8, query{"max by (policy, signal, field) (" + selected("firebreak_signal") + ")", "{{policy}} {{signal}}.{{field}}"}),
		}},
		{"Responses", []panel{
			graph("Changes in force over time", "", 8, query{outstanding, "in force"}),
			graph("Changes and operations by outcome", "", 8, query{increase("work, outcome", "firebreak_changes_total"), "{{work}} {{outcome}}"}),
			graph("Steps by outcome", "", 8, query{increase("action, outcome", "firebreak_steps_total"), "{{action}} {{outcome}}"}),
			latency("Time until an Incident is open", "firebreak_time_to_open_seconds"),
			latency("Time until the first change", "firebreak_time_to_first_action_seconds"),
			latency("Time until a step helped", "firebreak_time_to_mitigate_seconds"),
		}},
		{"Operator", []panel{
			graph("Leader", "", 6, query{selected("leader_election_master_status", `name="firebreak"`), "{{instance}}"}),
			graph("Ready", "", 6, query{selected("firebreak_ready"), "{{instance}}"}),
			graph("Memory", "bytes", 6, query{selected("process_resident_memory_bytes"), "{{instance}}"}),
			graph("Uptime", "s", 6, query{"time() - " + selected("process_start_time_seconds"), "{{instance}}"}),
			graph("Passes", "ops", 6, query{rate("controller, result", "controller_runtime_reconcile_total"), "{{controller}} {{result}}"}),
			graph("Duration of passes", "s", 6,
				query{quantile(0.5, "le, controller", "controller_runtime_reconcile_time_seconds", "$__rate_interval"), "{{controller}} p50"},
				query{quantile(0.99, "le, controller", "controller_runtime_reconcile_time_seconds", "$__rate_interval"), "{{controller}} p99"}),
			graph("Queue: due work by urgency", "", 6, query{"sum by (name, priority) (" + selected("workqueue_depth") + ")", "{{name}} {{priority}}"}),
			graph("Queue: longest wait and longest pass", "s", 6,
				query{"max(" + selected("firebreak_queue_longest_wait_seconds") + ")", "waits for a worker"},
				query{"max by (name) (" + selected("workqueue_longest_running_processor_seconds") + ")", "pass: {{name}}"}),
			graph("Readings of signals that failed", "ops", 6, query{rate("kind", "firebreak_signal_errors_total"), "{{kind}}"}),
			graph("Interrupted watches", "ops", 6, query{rate("cache", "firebreak_watch_errors_total"), "{{cache}}"}),
			graph("Configuration is valid", "", 6, query{selected("firebreak_configuration_valid"), "{{instance}}"}),
			graph("Objects that cannot be read", "", 6, query{"max by (kind) (" + selected("firebreak_undecodable_objects") + ")", "{{kind}}"}),
			graph("Spans of traces", "ops", 6, query{rate("result", "firebreak_trace_spans_total"), "{{result}}"}),
		}},
		{"API server", []panel{
			graph("Requests by verb", "reqps", 6, query{rate("verb", "firebreak_api_requests_total"), "{{verb}}"}),
			graph("Requests by code", "reqps", 6, query{rate("code", "firebreak_api_requests_total"), "{{code}}"}),
			graph("Throttled requests", "reqps", 6, query{rate("verb", "firebreak_api_requests_total", `code="429"`), "{{verb}}"}),
			graph("Time until the API server answers", "s", 6,
				query{quantile(0.5, "le, verb", "firebreak_api_request_duration_seconds", "$__rate_interval"), "{{verb}} p50"},
				query{quantile(0.99, "le, verb", "firebreak_api_request_duration_seconds", "$__rate_interval"), "{{verb}} p99"}),
		}},
	}
}

// number is a value that should be 0; otherwise it has a colour.
func number(title, expression, color string) panel {
	return stat.NewPanelBuilder().
		Title(title).
		Datasource(source()).
		Span(width / 6).Height(4).
		WithTarget(query{expression, title}.value()).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorMode(common.BigValueColorModeBackground).
		GraphMode(common.BigValueGraphModeNone).
		Thresholds(dashboard.NewThresholdsConfigBuilder().
			Mode(dashboard.ThresholdsModeAbsolute).
			Steps([]dashboard.Threshold{{Color: "green"}, {Value: cog.ToPtr(1.0), Color: color}}))
}

// graph is one or more queries over time.
func graph(title, unit string, span uint32, queries ...query) panel {
	builder := timeseries.NewPanelBuilder().
		Title(title).
		Datasource(source()).
		Span(span).Height(7).
		Unit(unit).Min(0).
		LineWidth(1).FillOpacity(10).
		ShowPoints(common.VisibilityModeNever)
	for _, query := range queries {
		builder.WithTarget(query.target())
	}
	return builder
}

// latency is a histogram that few events fill, so its quantiles are over the whole time that is shown.
func latency(title, metric string) panel {
	return graph(title, "s", 8,
		query{quantile(0.5, "le", metric, "$__range"), "p50"},
		query{quantile(0.9, "le", metric, "$__range"), "p90"})
}
