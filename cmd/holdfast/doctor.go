package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/kms"
)

// doctorCmd is `holdfast doctor`.
type doctorCmd struct {
	Config string `placeholder:"FILE" help:"On the node's own machine: the configuration file of holdfastd. Folders, disk and documents that it names are examined too, and without --url the node that it makes."`

	connection
}

// Help is the rest of what --help says.
func (doctorCmd) Help() string {
	return "It reads what the node shows to anybody and changes nothing. Give --charter, or the node's word on itself is all there is.\n\n" +
		"The exit status is that of monitoring plug-ins: 0 where all is well, 1 with warnings, 2 where something does not work."
}

// A grade is how bad a finding is.
type grade string

// The grades.
const (
	gradeOK   grade = "ok"
	gradeWarn grade = "warn"
	gradeFail grade = "fail"
)

// A finding is what one look at a node found.
type finding struct {
	Check string `json:"check"`
	Grade grade  `json:"grade"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"` // what a person can do
}

// An examination collects findings.
type examination struct {
	Findings []finding `json:"findings"`
	Worst    grade     `json:"worst"`
}

func (e *examination) ok(check, format string, args ...any) {
	e.add(finding{Check: check, Grade: gradeOK, What: fmt.Sprintf(format, args...)})
}

func (e *examination) warn(check, do, format string, args ...any) {
	e.add(finding{Check: check, Grade: gradeWarn, What: fmt.Sprintf(format, args...), Do: do})
}

func (e *examination) fail(check, do, format string, args ...any) {
	e.add(finding{Check: check, Grade: gradeFail, What: fmt.Sprintf(format, args...), Do: do})
}

func (e *examination) add(f finding) {
	f.What, f.Do = oneLine(f.What), oneLine(f.Do) // a node's words may be in it
	e.Findings = append(e.Findings, f)
	if f.Grade == gradeFail || f.Grade == gradeWarn && e.Worst == gradeOK {
		e.Worst = f.Grade
	}
}

// Run examines and shows what was found.
func (c *doctorCmd) Run(s *session) error {
	e := &examination{Worst: gradeOK}
	if c.Config != "" {
		c.examineConfig(e)
	}
	if err := c.examineNode(s, e); err != nil {
		return err
	}
	if err := s.show(e, func(w io.Writer) { printFindings(w, e) }); err != nil {
		return err
	}
	switch e.Worst {
	case gradeWarn:
		return errQuiet
	case gradeFail:
		return errUnwell
	}
	return nil
}

// errUnwell is errQuiet with the other status.
var errUnwell = &problem{err: errQuiet, status: exitUsage}

func printFindings(w io.Writer, e *examination) {
	for _, f := range e.Findings {
		mark := string(f.Grade)
		if f.Grade != gradeOK {
			mark = map[grade]string{gradeWarn: "WARN", gradeFail: "FAIL"}[f.Grade]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Check, f.What)
		if f.Do != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", f.Do)
		}
	}
}

// examineConfig looks at the file, and at what it names on this machine.
func (c *doctorCmd) examineConfig(e *examination) {
	f, faults, err := config.Faults(c.Config)
	switch {
	case err != nil:
		e.fail("config", kms.HintOf(err), "%v", err)
		return
	case len(faults) > 0:
		for _, fault := range faults {
			e.fail("config", fault.Hint, "%s: %v", c.Config, fault)
		}
		return
	}
	e.ok("config", "%s is valid", c.Config)
	examineMachine(e, f, time.Now())
	if c.URL == "" {
		c.URL = urlOf(f.Value("listen"))
	}
	if charter := f.Value("charter"); c.Charter == "" && c.CA == "" && exists(charter) {
		c.Charter = charter
	}
}

// urlOf is where a node that listens there is reached from its own machine.
func urlOf(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		port = "9000" // what holdfastd listens at where nothing is said
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// examineNode looks at the node from outside. Only a command line that names no
// node is an error; what is wrong with the node is found.
func (c *doctorCmd) examineNode(s *session, e *examination) error {
	cfg, err := c.config(s)
	if err != nil {
		if c.Config != "" { // what the file names may be at fault, and that was found
			e.fail("node", hintOf(err), "not examined: %v", err)
			return nil
		}
		return err
	}
	p, err := probe(s.ctx, cfg.URL)
	if err != nil {
		e.fail("reach", "see that holdfastd runs there and that this machine reaches the address; its log says why it does not start", "%s: %v", cfg.URL, err)
		return nil
	}
	e.ok("reach", "%s answers in %s", cfg.URL, p.took.Round(time.Millisecond))
	p.examine(e, cfg.CA, time.Now())
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	if !attestNode(s, e, cl, cfg.Trust != nil) {
		return nil
	}
	asked := time.Now()
	st, err := cl.Status(s.ctx)
	if err != nil {
		e.fail("status", hintOf(err), "%v", err)
		return nil
	}
	examineStatus(e, st, asked.Add(time.Since(asked)/2))
	domain, err := cl.DomainStatus(s.ctx)
	if err != nil {
		e.warn("master secrets", hintOf(err), "the node does not say how they stand: %v", err)
		return nil
	}
	examineSecrets(e, domain, st.DomainTime)
	return nil
}

// attestNode has the node prove what it is. It reports whether to go on asking.
func attestNode(s *session, e *examination, cl *client.Client, charter bool) bool {
	if !charter {
		e.warn("attestation", "give --charter FILE", "not asked for: without the charter nothing of what the node says is proved")
		return true
	}
	v, err := cl.Attest(s.ctx)
	if err != nil {
		e.fail("attestation", hintOf(err), "%v", err)
		return !errors.Is(err, kms.Denied) && !errors.Is(err, kms.Expired) && !errors.Is(err, kms.Stale)
	}
	examineProof(e, v, time.Now())
	return true
}
