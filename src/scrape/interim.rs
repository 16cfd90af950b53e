//! Reads samples out of Prometheus text.

/// Calls `visit` with name, label text and value of every sample.
pub fn samples<'a>(text: &'a str, mut visit: impl FnMut(&'a str, &dyn Fn(&str) -> Option<&'a str>, f64)) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(end) = line.find(['{', ' ']) else { continue };
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((labels, rest)) => (labels, rest),
            None => ("", rest),
        };
        let Some(value) = rest.split_whitespace().next().and_then(|value| value.parse().ok()) else { continue };
        let label = |wanted: &str| {
            labels.split(',').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == wanted)).map(|(_, value)| value.trim_matches('"'))
        };
        visit(name, &label, value);
    }
}
