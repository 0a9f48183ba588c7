package gitops

import (
	"strings"
	"testing"
)

// The states of health that Argo CD knows and that are meant here.
const (
	healthy     = "Healthy"
	progressing = "Progressing"
	degraded    = "Degraded"
	suspended   = "Suspended"
)

// TestHealthInArgoCD: says is a part of the message.
func TestHealthInArgoCD(t *testing.T) {
	cases := []struct {
		name         string
		kind         string
		object       object
		status, says string
	}{
		{"a policy that was just created", "RemediationPolicy", isNew(recordedPolicy(t, "closed")), progressing, "not checked"},
		{"an edited policy", "RemediationPolicy", isEdited(recordedPolicy(t, "closed")), progressing, "not checked"},
		{"a policy that watches", "RemediationPolicy", recordedPolicy(t, "closed"), healthy, "Watching: no rule holds"},
		{"a policy with an open Incident", "RemediationPolicy", recordedPolicy(t, "open"), healthy, "Responding: Incident "},
		{"a policy that waits for False", "RemediationPolicy", recordedPolicy(t, "waiting"), healthy, "WaitingForFalse"},
		{"a policy that is not Accepted", "RemediationPolicy", notReady(t, "invalid"), degraded, "Invalid: "},
		{"a policy without rights", "RemediationPolicy", notReady(t, "forbidden"), degraded, "Forbidden: "},
		{"a policy whose signal is Unknown", "RemediationPolicy", notReady(t, "unknown"), progressing, "SignalUnknown: "},
		{"a suspended policy", "RemediationPolicy", notReady(t, "suspended"), suspended, "Suspended: "},

		{"an Incident that was just created", "Incident", isNew(recordedIncident(t, "open")), progressing, "not seen"},
		{"an edited Incident", "Incident", isEdited(recordedIncident(t, "closed")), progressing, "not seen"},
		{"an Incident that remediates", "Incident", recordedIncident(t, "open"), progressing, "changes are being"},
		{"an Incident that verifies", "Incident", recordedIncident(t, "pods"), progressing, "verified"},
		{"an Incident that reverts", "Incident", recordedIncident(t, "reverting"), progressing, "everything is being"},
		{"an Incident whose steps are used up", "Incident", recordedIncident(t, "effect"), degraded, "LadderUsedUp: "},
		{"an Incident that waits for approval", "Incident", recordedIncident(t, "approval"), degraded, "ApprovalRequired: "},
		{"an Incident with an unknown outcome", "Incident", recordedIncident(t, "unknown"), degraded, "OutcomeUnknown: "},
		{"a paused Incident", "Incident", recordedIncident(t, "paused"), suspended, "Paused: "},
		{"a closed Incident", "Incident", recordedIncident(t, "closed"), healthy, "CLOSED (Recovered)"},
		{"a withdrawn Incident", "Incident", recordedIncident(t, "waiting"), healthy, "CLOSED (Withdrawn)"},
	}
	for _, is := range cases {
		t.Run(is.name, func(t *testing.T) {
			var health struct{ Status, Message string }
			run(t, customization(t, "health", is.kind), is.object, &health)
			if health.Status != is.status || !strings.Contains(health.Message, is.says) {
				t.Errorf("%s, %q; expected %s, %q", health.Status, health.Message, is.status, is.says)
			}
		})
	}
}
