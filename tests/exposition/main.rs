//! The exposition parser against a slow reference, on made-up, damaged and real expositions.

#![allow(clippy::unwrap_used, missing_docs)]

mod reference;

use proptest::prelude::*;
use reference::OwnedSample;
use valence::scrape::exposition::{Filter, Limits, Reason, parse};

const FAMILIES: &[&str] = &["requests", "latency"];
const PREFIXES: &[&str] = &["grpc_"];
const REAL: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");

/// Reads with the parser under test; the error is the number of the bad line.
fn read(exposition: &[u8], families: &[&str], prefixes: &[&str]) -> Result<Vec<OwnedSample>, usize> {
    let mut samples = Vec::new();
    let filter = Filter::families(families).and_prefixes(prefixes);
    let result = parse(exposition, &filter, &Limits::default(), |sample| {
        samples.push(OwnedSample {
            name: sample.name.to_owned(),
            labels: sample
                .labels
                .iter()
                .map(|label| (label.name.to_owned(), label.value().into_owned()))
                .collect(),
            value: sample.value,
            timestamp: sample.timestamp,
        });
    });
    result
        .map(|summary| assert_eq!(summary.samples, samples.len()))
        .map_err(|error| error.line)?;
    Ok(samples)
}

/// NaN equals NaN here.
fn text(samples: &Result<Vec<OwnedSample>, usize>) -> String {
    format!("{samples:?}")
}

fn agree(exposition: &[u8]) {
    let (ours, theirs) = (
        read(exposition, FAMILIES, PREFIXES),
        reference::parse(exposition, FAMILIES, PREFIXES),
    );
    assert_eq!(
        text(&ours),
        text(&theirs),
        "on {:?}",
        String::from_utf8_lossy(exposition)
    );
}

fn only(exposition: &str) -> OwnedSample {
    let mut samples = read(exposition.as_bytes(), FAMILIES, PREFIXES).unwrap();
    assert_eq!(samples.len(), 1, "{exposition:?}");
    samples.remove(0)
}

fn reason(exposition: &[u8]) -> (usize, Reason) {
    let error = parse(exposition, &Filter::families(FAMILIES), &Limits::default(), |_| {}).unwrap_err();
    (error.line, error.reason)
}

#[test]
fn plain_samples() {
    assert_eq!(only("requests 3\n").value, 3.0);
    assert_eq!(only("  requests\t{ } 3.5e2  \n").value, 350.0);
    assert_eq!(
        only("requests_total 12 1700000000123\n").timestamp,
        Some(1_700_000_000_123.0)
    );
    assert_eq!(
        only("requests_total{} 12 1700000000.123\n").timestamp,
        Some(1_700_000_000.123)
    );
    assert_eq!(only("requests -0.5 -12\n").timestamp, Some(-12.0));
}

#[test]
fn infinities_and_nan() {
    assert_eq!(only("requests +Inf\n").value, f64::INFINITY);
    assert_eq!(only("requests -Inf\n").value, f64::NEG_INFINITY);
    assert_eq!(only("requests Inf\n").value, f64::INFINITY);
    assert!(only("requests NaN\n").value.is_nan());
    let bucket = only("latency_bucket{le=\"+Inf\"} 7\n");
    assert_eq!(bucket.labels, [("le".to_owned(), "+Inf".to_owned())]);
}

#[test]
fn escapes_and_braces_in_label_values() {
    let sample = only("requests{path=\"C:\\\\x\\\"}, y\\n\",odd=\"\\d\", } 1\n");
    assert_eq!(sample.labels[0].1, "C:\\x\"}, y\n");
    assert_eq!(sample.labels[1].1, "\\d");
    assert_eq!(only("requests{ name = \"grün {}\" } 1\n").labels[0].1, "grün {}");
}

#[test]
fn open_metrics() {
    let text = "# TYPE requests counter\nrequests_total{a=\"b\"} 5 1.5 # {trace=\"x # }\"} 0.3 1.25\n\
                requests_created 1600000000.5\nlatency_bucket{le=\"1\"} 2 # {} 1\nlatency_bucket{le=\"2\"} 3 # { } 1e3\n# EOF";
    let samples = read(text.as_bytes(), FAMILIES, PREFIXES).unwrap();
    let values: Vec<_> = samples.iter().map(|sample| (sample.value, sample.timestamp)).collect();
    assert_eq!(
        values,
        [(5.0, Some(1.5)), (1_600_000_000.5, None), (2.0, None), (3.0, None)]
    );
}

#[test]
fn nothing_follows_the_end() {
    for exposition in ["requests 1\n# EOF", "requests 1\n# EOF\n", "requests 1\r\n# EOF\r\n"] {
        assert_eq!(only(exposition).value, 1.0);
    }
    assert_eq!(reason(b"requests 1\n# EOF\nrequests 2\n"), (3, Reason::AfterEnd));
    assert_eq!(reason(b"requests 1\n# EOF\n\n"), (3, Reason::AfterEnd));
    assert_eq!(only("# EOF is near\n # EOF\nrequests 1\n").value, 1.0);
}

#[test]
fn label_names_in_quotes() {
    let sample = only("requests{ \"http.status\" = \"200\",\"le\"=\"0.5\",a=\"b\",\"odd\\\"{}=,\"=\"c\"} 1\n");
    let names: Vec<_> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["http.status", "le", "a", "odd\\\"{}=,"]);
    assert_eq!(only("requests 1 # {\"trace.id\"=\"x\"} 1\n").value, 1.0);
    assert_eq!(reason(b"requests{\"\"=\"b\"} 1\n"), (1, Reason::LabelName));
    assert_eq!(reason(b"requests{\"a=\"b\"} 1\n"), (1, Reason::LabelName));
    // A second name of the metric.
    assert_eq!(reason(b"requests{\"requests\"} 1\n"), (1, Reason::LabelName));
}

#[test]
fn crlf_comments_and_empty_lines() {
    let text = "# HELP requests {not a sample\r\n\r\n#\r\n \t\r\nrequests{a=\"b\"} 1\r\nrequests 2 \r\n";
    let samples = read(text.as_bytes(), FAMILIES, PREFIXES).unwrap();
    assert_eq!(
        samples.iter().map(|sample| sample.value).collect::<Vec<_>>(),
        [1.0, 2.0]
    );
}

#[test]
fn only_wanted_families_are_read() {
    let text = "requests_x 1\nrequests_bucket_x 1\nxrequests 1\nother garbage {{{\nlatency 1\ngrpc_0{a=\"b\"} 2\n{\"requests\"} 4\n";
    let samples = read(text.as_bytes(), FAMILIES, PREFIXES).unwrap();
    assert_eq!(
        samples.iter().map(|sample| sample.name.as_str()).collect::<Vec<_>>(),
        ["latency", "grpc_0"]
    );
}

#[test]
fn errors_name_line_and_reason() {
    assert_eq!(reason(b"a 1\nrequests\n"), (2, Reason::Name));
    assert_eq!(reason(b"a 1\n<html>\n"), (2, Reason::Name));
    assert_eq!(reason("requestsé 1\n".as_bytes()), (1, Reason::Name));
    assert_eq!(reason(b"requests x\n"), (1, Reason::Value));
    assert_eq!(reason(b"requests 0x10\n"), (1, Reason::Value));
    assert_eq!(reason(b"requests{a=\"b\"}\n"), (1, Reason::Value));
    assert_eq!(reason(b"requests 1 x\n"), (1, Reason::Timestamp));
    assert_eq!(reason(b"requests 1 NaN\n"), (1, Reason::Timestamp));
    assert_eq!(reason(b"requests 1 2 3\n"), (1, Reason::Exemplar));
    assert_eq!(reason(b"requests 1 # x\n"), (1, Reason::Exemplar));
    assert_eq!(reason(b"requests{1=\"b\"} 1\n"), (1, Reason::LabelName));
    assert_eq!(reason(b"requests{a:b=\"b\"} 1\n"), (1, Reason::LabelName));
    assert_eq!(reason(b"requests{a=b} 1\n"), (1, Reason::LabelValue));
    assert_eq!(reason(b"requests{a=\"b} 1\n"), (1, Reason::LabelValue));
    assert_eq!(reason(b"requests{a=\"b\"c=\"d\"} 1\n"), (1, Reason::Labels));
    assert_eq!(reason(b"requests{a=\"b\" 1\n"), (1, Reason::Labels));
    assert_eq!(reason(b"requests{a=\"\xff\"} 1\n"), (1, Reason::Encoding));
    assert_eq!(reason(b"requests 1\nrequests 12"), (2, Reason::Unfinished));
    assert_eq!(reason(b"# comment without an end"), (1, Reason::Unfinished));
    let error = parse(b"requests x\n", &Filter::families(FAMILIES), &Limits::default(), |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "line 1: malformed value");
}

#[test]
fn lines_and_samples_are_bounded() {
    let limits = Limits {
        line_bytes: 20,
        samples: 2,
    };
    let run = |text: &[u8]| parse(text, &Filter::families(FAMILIES), &limits, |_| {}).map_err(|error| error.reason);
    assert_eq!(run(b"requests 1\nrequests 2\n").unwrap().samples, 2);
    assert_eq!(
        run(b"requests 1\nrequests 2\nrequests 3\n"),
        Err(Reason::TooManySamples)
    );
    assert_eq!(run(b"another_family_of_no_interest 1\n"), Err(Reason::LineTooLong));
    assert_eq!(run(&vec![b'x'; 1 << 20]), Err(Reason::LineTooLong));
}

#[test]
fn a_real_envoy_is_read_like_the_reference_reads_it() {
    let families = &["envoy_cluster_upstream_rq_time", "envoy_http_downstream_rq_total"];
    let ours = read(REAL, families, &["envoy_"]).unwrap();
    assert_eq!(Ok(&ours), reference::parse(REAL, families, &["envoy_"]).as_ref());
    let buckets = ours.iter().filter(|sample| sample.name.ends_with("_bucket")).count();
    assert!(buckets > 20, "{buckets} buckets");
}

/// Text made of the pieces that matter to the format, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("requests"),
        Just("requests_total"),
        Just("latency_bucket"),
        Just("grpc_"),
        Just("other"),
        Just("{"),
        Just("}"),
        Just("\""),
        Just("\\"),
        Just("\\\""),
        Just("\\n"),
        Just("="),
        Just("=\""),
        Just(","),
        Just(" "),
        Just("\t"),
        Just("\n"),
        Just("\r\n"),
        Just("\r"),
        Just("# "),
        Just("# EOF"),
        Just("# {"),
        Just("1"),
        Just("1.5e3"),
        Just("+Inf"),
        Just("NaN"),
        Just("-"),
        Just("le"),
        Just("a=\"b\""),
        Just("\"a.b\"="),
        Just("# EOF\n"),
        Just("{a=\"b\"} 1\n"),
        Just(" 1\n"),
        Just("é"),
        Just("9007199254740993"),
        Just("123456789012345"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A line of a wanted family that is well-formed, with all the freedom that the format allows.
fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("requests"),
        Just("requests_total"),
        Just("latency_bucket"),
        Just("latency_sum"),
        Just("grpc_9"),
        Just("skipped")
    ];
    let blank = "[ \t]{0,2}";
    let value = "([^\"\\\\\n\r]|\\\\\\\\|\\\\\"|\\\\n){0,8}";
    let name_of_label = prop_oneof![3 => "[a-zA-Z_][a-zA-Z0-9_]{0,6}", 1 => "\"[a-z.{}=, \u{e9}]{1,6}\""];
    let label = (blank, name_of_label, blank, blank, value, blank)
        .prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}={c}\"{value}\"{d}"));
    let labels = (proptest::collection::vec(label, 0..7), any::<bool>()).prop_map(|(labels, comma)| {
        let comma = if comma && !labels.is_empty() { "," } else { "" };
        format!("{{{}{comma}}}", labels.join(","))
    });
    let number = prop_oneof![
        any::<f64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        Just("+Inf".to_owned())
    ];
    let timestamp = prop_oneof![Just(String::new()), any::<i64>().prop_map(|at| format!(" {at}"))];
    let exemplar =
        prop_oneof![4 => Just(String::new()), 1 => labels.clone().prop_map(|labels| format!(" # {labels} 0.5"))];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just(" \n")];
    (blank, name, blank, labels, blank, number, timestamp, exemplar, end).prop_map(
        |(a, name, b, labels, c, value, timestamp, exemplar, end)| {
            format!("{a}{name}{b}{labels}{c}{value}{timestamp}{exemplar}{end}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_on_pieces(exposition in pieces()) {
        agree(&exposition);
    }

    #[test]
    fn agrees_on_arbitrary_bytes(exposition in proptest::collection::vec(any::<u8>(), 0..64)) {
        agree(&exposition);
    }

    #[test]
    fn reads_every_well_formed_line(lines in proptest::collection::vec(line(), 0..8)) {
        let exposition = lines.concat();
        agree(exposition.as_bytes());
        let wanted = lines.iter().filter(|line| !line.trim_start().starts_with("skipped")).count();
        prop_assert_eq!(read(exposition.as_bytes(), FAMILIES, PREFIXES).map(|samples| samples.len()), Ok(wanted));
    }

    #[test]
    fn agrees_on_damaged_real_expositions(at in 0..REAL.len(), byte in any::<u8>(), cut in 0..REAL.len()) {
        let mut damaged = REAL.to_vec();
        damaged[at] = byte;
        damaged.truncate(cut.max(at));
        let families = &["envoy_cluster_upstream_rq_time"];
        prop_assert_eq!(text(&read(&damaged, families, &["envoy_"])), text(&reference::parse(&damaged, families, &["envoy_"])));
    }
}
