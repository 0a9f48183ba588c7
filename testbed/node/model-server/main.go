// Model-server stands in for a model server in the containers of a real node: it
// accepts any flags, and serves them, so that a test can see with which flags a
// server runs. Without flags it waits to be stopped, as the sandbox of a pod does.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for _, flag := range os.Args[1:] {
		if port, ok := strings.CutPrefix(flag, "--port="); ok {
			go serve(port)
		}
	}
	<-stop
}

func serve(port string) {
	http.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/flags", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(os.Args[1:]) })
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
