//! Which known tags somebody may have meant.

use crate::reference::Reference;

/// How many are named.
const NAMED: usize = 3;
/// The most steps that are spent on distances. A map may have some hundred thousand long tags, and
/// a launch waits for its error.
const STEPS: usize = 20_000_000;

/// The known tags closest to one that is not known, the closest first: those that a few slips of
/// the finger lead to, then those of the same repository.
pub(crate) fn close_tags<'a>(
    asked: &Reference,
    known: impl Iterator<Item = &'a Reference>,
) -> Vec<&'a Reference> {
    let (text, mut steps) = (asked.as_str(), 0_usize);
    let mut close: Vec<_> = known
        .filter_map(|tag| {
            let candidate = tag.as_str();
            // One letter in three may be wrong.
            let limit = text.len().max(candidate.len()) / 3;
            let is_near = text.len().abs_diff(candidate.len()) <= limit && steps < STEPS;
            let distance = is_near.then(|| {
                steps = steps.saturating_add(text.len().saturating_mul(candidate.len()));
                strsim::osa_distance(text, candidate)
            });
            match distance.filter(|distance| *distance <= limit) {
                Some(distance) => Some((distance, tag)),
                None if repository(text) == repository(candidate) => Some((usize::MAX, tag)),
                None => None,
            }
        })
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(NAMED).map(|(_, tag)| tag).collect()
}

/// A tag without what follows its last colon, unless that is a port.
fn repository(tag: &str) -> &str {
    match tag.rsplit_once(':') {
        Some((repository, name)) if !name.contains('/') => repository,
        _ => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(asked: &str, known: &[&str]) -> Vec<String> {
        let asked = Reference::parse(asked).unwrap();
        let known: Vec<_> = known.iter().map(|tag| Reference::parse(tag).unwrap()).collect();
        close_tags(&asked, known.iter()).into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn slips_come_first_then_the_same_repository() {
        let known = [
            "storm/rhel7:dev_current",
            "storm/rhel7:1.2.3-20261122",
            "storm/rhel8:dev_current",
            "storm/rhel7:dev_test",
            "flink/debian:12",
            "registry.example.org:5000/storm/rhel7:dev_current",
        ];
        assert_eq!(
            close("storm/rhel7:dev_curent", &known),
            ["storm/rhel7:dev_current", "storm/rhel8:dev_current", "storm/rhel7:dev_test"]
        );
        assert_eq!(
            close("storm/rhel7", &known),
            ["storm/rhel7:1.2.3-20261122", "storm/rhel7:dev_current", "storm/rhel7:dev_test"]
        );
        assert_eq!(close("flink/debain:12", &known), ["flink/debian:12"]);
        assert!(close("spark", &known).is_empty());
        assert!(close("x", &[]).is_empty());
    }

    #[test]
    fn a_tag_of_both_maps_is_named_once() {
        assert_eq!(close("storm:2", &["storm:1", "storm:1"]), ["storm:1"]);
    }

    #[test]
    fn a_large_map_costs_a_bounded_time() {
        let long = |number: usize| Reference::parse(&format!("{number:0>255}")).unwrap();
        let known: Vec<_> = (0..20_000).map(long).collect();
        let asked = Reference::parse(&"9".repeat(255)).unwrap();
        // A distance of each would take minutes in a test build.
        assert!(close_tags(&asked, known.iter()).is_empty());
    }
}
