// The generator of the dashboard, and its tests.
module firebreak.dev/monitoring

go 1.26.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
