// Reads an exposition from standard input as Prometheus's own library does, again and again, and prints the
// nanoseconds that one reading takes: the median of as many as its argument says.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/prometheus/common/expfmt"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	repeats, malformed := strconv.Atoi(os.Args[1])
	if err != nil || malformed != nil {
		fmt.Fprintln(os.Stderr, err, malformed)
		os.Exit(1)
	}
	times := make([]time.Duration, repeats)
	for i := range times {
		begun := time.Now()
		var parser expfmt.TextParser
		if _, err := parser.TextToMetricFamilies(bytes.NewReader(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		times[i] = time.Since(begun)
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	fmt.Println(times[repeats/2].Nanoseconds())
}
