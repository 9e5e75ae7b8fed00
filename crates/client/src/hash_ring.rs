//! Which proxy a key belongs to, when there are several.
//!
//! Every proxy has many points on a ring of hashes, and a key belongs to the
//! proxy of the first point at or after its own hash. So keys spread evenly, and
//! when a proxy is added only the keys that it takes over move. Clients agree as
//! long as they spell the proxies' names alike, in whatever order.

use twox_hash::XxHash3_64;

/// Points of one proxy. The share of a proxy varies by about 1/√160, 8 %.
const POINTS: u32 = 160;

/// Proxies, by index, on a ring of hashes.
#[derive(Clone, Debug)]
pub(crate) struct HashRing {
    points: Vec<(u64, usize)>,
}

impl HashRing {
    /// A ring of the proxies of these names.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut points: Vec<(u64, usize)> = names
            .into_iter()
            .enumerate()
            .flat_map(|(index, name)| {
                (0..POINTS).map(move |point| (hash_point(name, point), index))
            })
            .collect();
        points.sort_unstable();
        Self { points }
    }

    /// Whose a key is; `None` on a ring without proxies.
    pub(crate) fn owner(&self, key: &[u8]) -> Option<usize> {
        let hash = XxHash3_64::oneshot(key);
        let next = self.points.partition_point(|(point, _)| *point < hash);
        // Past the last point the ring begins again.
        let (_, owner) = self.points.get(next).or(self.points.first())?;
        Some(*owner)
    }
}

fn hash_point(name: &str, point: u32) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(point) + 1, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count)
            .map(|index| format!("proxy-{index}:6378"))
            .collect()
    }

    fn ring(names: &[String]) -> HashRing {
        HashRing::new(names.iter().map(String::as_str))
    }

    fn keys() -> impl Iterator<Item = String> {
        (0..20_000).map(|number| format!("key:{number}"))
    }

    #[test]
    fn keys_spread_evenly() {
        let names = names(5);
        let ring = ring(&names);
        let mut counts = [0; 5];
        for key in keys() {
            counts[ring.owner(key.as_bytes()).unwrap()] += 1;
        }
        // 20 000 / 5, give or take three deviations.
        assert!(
            counts.iter().all(|count| (3_000..5_000).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_proxy_that_is_added_takes_its_share_and_nothing_else_moves() {
        let names = names(5);
        let (before, after) = (ring(&names[..4]), ring(&names));
        let mut moved = 0;
        for key in keys() {
            let (old, new) = (before.owner(key.as_bytes()), after.owner(key.as_bytes()));
            if old != new {
                assert_eq!(new, Some(4), "{key} moved between proxies that stayed");
                moved += 1;
            }
        }
        assert!((3_000..5_000).contains(&moved), "{moved} of 20000");
    }

    #[test]
    fn the_order_of_the_names_does_not_matter() {
        let names = names(3);
        let reversed: Vec<String> = names.iter().rev().cloned().collect();
        let (forth, back) = (ring(&names), ring(&reversed));
        for key in keys() {
            let (a, b) = (forth.owner(key.as_bytes()), back.owner(key.as_bytes()));
            assert_eq!(names[a.unwrap()], reversed[b.unwrap()]);
        }
    }

    #[test]
    fn a_ring_without_proxies_owns_nothing() {
        assert_eq!(HashRing::new([]).owner(b"key"), None);
    }
}
