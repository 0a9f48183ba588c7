package main

import (
	"embed"
	"errors"
	"os"
	"strings"
	"time"
)

// kwok/ is the configuration of kwok; manifests/ has objects to create and the
// configuration of Prometheus and Alertmanager.
//
//go:embed kwok manifests
var files embed.FS

// fill replaces ${NAME} by the value that follows it in pairs.
func fill(file string, pairs ...string) string {
	content, err := files.ReadFile(file)
	if err != nil {
		panic(err) // a wrong name in this program
	}
	return strings.NewReplacer(pairs...).Replace(string(content))
}

func (t *testbed) writeConfigs() error {
	entries, err := files.ReadDir("kwok")
	if err != nil {
		return err
	}
	var documents []string
	for _, entry := range entries {
		documents = append(documents, fill("kwok/"+entry.Name(), "${DIR}", t.dir))
	}
	prometheus := fill("manifests/prometheus.yml", "${DIR}", t.dir, "${ALERTMANAGER_PORT}", t.port("alertmanager"))
	now := time.Now().UTC().Format(time.RFC3339Nano)
	return errors.Join(
		os.WriteFile(t.path("kwok.yaml"), []byte(strings.Join(documents, "\n---\n")), 0o644),
		os.WriteFile(t.path("prometheus.yml"), []byte(prometheus), 0o644),
		t.writeDefault("alertmanager.yml", fill("manifests/alertmanager.yml")),
		t.writeDefault("pods/current.log", now+" stdout F simulated container started\n"),
		t.writeDefault("pods/previous.log", now+" stderr F simulated container failed\n"),
	)
}

// writeDefault leaves a file alone that the user put there.
func (t *testbed) writeDefault(name, content string) error {
	if _, err := os.Stat(t.path(name)); err == nil {
		return nil
	}
	return os.WriteFile(t.path(name), []byte(content), 0o644)
}
