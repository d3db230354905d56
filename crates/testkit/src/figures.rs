//! A page of metrics, read as strictly as Prometheus' own linter reads it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};

/// The labels of a series.
type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Figures {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    help: bool,
    kind: String,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Figures {
    /// Reads a page in the text format. Every family has one help and one type before its samples, no series stands
    /// twice, counters are called so, and histograms add up.
    pub fn read(page: &str) -> anyhow::Result<Self> {
        let mut figures = Self::default();
        for line in page.lines().filter(|line| !line.is_empty()) {
            figures.line(line).with_context(|| line.to_owned())?;
        }
        for (name, family) in &figures.families {
            family.check(name).with_context(|| name.clone())?;
        }
        Ok(figures)
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').context("a help without text")?;
            ensure!(!help.is_empty(), "a help without text");
            let family = self.families.entry(name.to_owned()).or_default();
            ensure!(!family.help, "a second help");
            ensure!(family.samples.is_empty(), "a help after samples");
            family.help = true;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a type without kind")?;
            let family = self.families.entry(name.to_owned()).or_default();
            ensure!(family.kind.is_empty(), "a second type");
            ensure!(family.samples.is_empty(), "a type after samples");
            ensure!(
                ["counter", "gauge", "histogram"].contains(&kind),
                "an unknown kind"
            );
            kind.clone_into(&mut family.kind);
        } else {
            let (name, labels, value) = sample(line)?;
            let family = self.family_of(&name).context("no family has it")?;
            let twice = family.samples.insert((name, labels), value).is_some();
            ensure!(!twice, "it stands twice");
        }
        Ok(())
    }

    fn family_of(&mut self, sample: &str) -> Option<&mut Family> {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|part| sample.strip_suffix(part))
            .find(|name| {
                let family = self.families.get(*name);
                family.is_some_and(|family| family.kind == "histogram")
            });
        self.families.get_mut(of_histogram.unwrap_or(sample))
    }

    /// The value of the series with exactly these labels.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let series = (name.to_owned(), labels.collect());
        let mut families = self.families.values();
        families.find_map(|family| family.samples.get(&series).copied())
    }

    /// The sum over all series of this name.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let named = samples.filter(|((series, _), _)| series == name);
        named.map(|(_, value)| value).sum()
    }

    /// Names of all families.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    /// How many series there are.
    #[must_use]
    pub fn series(&self) -> usize {
        self.families
            .values()
            .map(|family| family.samples.len())
            .sum()
    }
}

impl Family {
    fn check(&self, name: &str) -> anyhow::Result<()> {
        ensure!(self.help, "no help");
        ensure!(!self.kind.is_empty(), "no type");
        ensure!(
            name.ends_with("_total") == (self.kind == "counter"),
            "counters, and only they, end in _total"
        );
        if self.kind == "histogram" {
            self.adds_up(name)?;
        }
        Ok(())
    }

    /// Buckets grow to the number of measurements.
    fn adds_up(&self, name: &str) -> anyhow::Result<()> {
        let bucket = format!("{name}_bucket");
        let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((sample, labels), count) in &self.samples {
            if *sample == bucket {
                let mut labels = labels.clone();
                let bound = labels.remove("le").context("a bucket without bound")?;
                let bound = bound.replace("+Inf", "inf").parse()?;
                series.entry(labels).or_default().push((bound, *count));
            }
        }
        for (labels, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            ensure!(
                buckets.is_sorted_by(|a, b| a.1 <= b.1),
                "{labels:?} shrinks"
            );
            let last = buckets.last().copied();
            let all = self.samples.get(&(format!("{name}_count"), labels.clone()));
            let sum = self.samples.get(&(format!("{name}_sum"), labels.clone()));
            ensure!(sum.is_some(), "{labels:?} has no sum");
            ensure!(
                last == all.map(|all| (f64::INFINITY, *all)),
                "{labels:?} does not add up"
            );
        }
        Ok(())
    }
}

/// One line: name, labels, value.
fn sample(line: &str) -> anyhow::Result<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let value = value.parse().context("no number")?;
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').context("no end of labels")?),
    };
    let sane = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    ensure!(!name.is_empty() && name.bytes().all(sane), "no name");
    let mut found = Labels::new();
    let mut seen = BTreeSet::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").context("no value of a label")?;
        let (text, after) = after.split_once('"').context("no end of a label")?;
        ensure!(label.bytes().all(sane), "no label");
        // Values of ours need no escapes; one would mean that something of a caller's got in.
        if text.contains('\\') {
            bail!("a label holds what somebody sent");
        }
        ensure!(seen.insert(label), "a label stands twice");
        found.insert(label.to_owned(), text.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok((name.to_owned(), found, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"b c\"} 2\na_total 3\n\n\
            # HELP h_seconds Times.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"0.5\"} 1\n\
            h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 4.5\nh_seconds_count 2\n";
        let figures = Figures::read(page).unwrap();
        assert_eq!(
            figures.value("a_total", &[("y", "b c"), ("x", "1")]),
            Some(2.0)
        );
        assert_eq!(figures.value("a_total", &[("x", "1")]), None);
        assert!((figures.sum("a_total") - 5.0).abs() < f64::EPSILON);
        assert_eq!(figures.value("h_seconds_sum", &[]), Some(4.5));
        assert_eq!(figures.series(), 6);
    }

    #[test]
    fn what_prometheus_would_not_take_is_refused() {
        let head = "# HELP a_total Things.\n# TYPE a_total counter\n";
        for page in [
            "a_total 1\n".to_owned(),
            "# TYPE a_total counter\na_total 1\n".to_owned(),
            "# HELP a_total Things.\na_total 1\n".to_owned(),
            format!("{head}{head}"),
            format!("{head}a_total 1\na_total 1\n"),
            format!("{head}a_total one\n"),
            format!("{head}a_total{{x=\"1\"\n"),
            format!("{head}a_total{{x=\"a\\nb\"}} 1\n"),
            "# HELP a Things.\n# TYPE a counter\na 1\n".to_owned(),
            "# HELP h_s T.\n# TYPE h_s histogram\nh_s_bucket{le=\"+Inf\"} 2\nh_s_sum 1\nh_s_count 3\n"
                .to_owned(),
        ] {
            assert!(Figures::read(&page).is_err(), "{page}");
        }
    }
}
