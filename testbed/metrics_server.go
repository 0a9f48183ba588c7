package main

import (
	"context"
	"encoding/json"
	"fmt"
)

// announceMetricsServer makes the aggregated API known.
func (t *testbed) announceMetricsServer(ctx context.Context) error {
	service := fill("manifests/metrics-server-service.yaml", "${PORT}", t.port("metrics-server"))
	apiService := fill("manifests/metrics-server-apiservice.yaml", "${PORT}", t.port("metrics-server"))
	// The API server makes kube-system shortly after it is ready.
	err := t.waitFor(ctx, func(ctx context.Context) error {
		return t.create(ctx, "/api/v1/namespaces/kube-system/services", service)
	})
	if err != nil {
		return fmt.Errorf("service of metrics-server: %w", err)
	}
	return t.create(ctx, "/apis/apiregistration.k8s.io/v1/apiservices", apiService)
}

func (t *testbed) create(ctx context.Context, path, manifest string) error {
	return t.client.Discovery().RESTClient().Post().AbsPath(path).
		SetHeader("Content-Type", "application/yaml").Body([]byte(manifest)).Do(ctx).Error()
}

// nodeMetricsServed is the condition that metrics-server knows every node.
func (t *testbed) nodeMetricsServed(ctx context.Context) error {
	nodes := len(t.defaultGroup.Nodes)
	body, err := t.client.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").DoRaw(ctx)
	if err != nil {
		return err
	}
	var metrics struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &metrics); err != nil {
		return err
	}
	if len(metrics.Items) < nodes {
		return fmt.Errorf("metrics of %d nodes instead of %d", len(metrics.Items), nodes)
	}
	return nil
}
