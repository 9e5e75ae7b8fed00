//! What eviction has to free: so many bytes on each of some members.

use infinicache_wire::MemberId;

use super::object::Object;

/// Bytes that are needed on members, and what has been found of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortfall(Vec<OnMember>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct OnMember {
    member: MemberId,
    needed: u64,
    found: u64,
}

impl Shortfall {
    /// Members on which nothing is needed do not count.
    pub(crate) fn new(needed: impl IntoIterator<Item = (MemberId, u64)>) -> Self {
        let needed = needed.into_iter().filter(|(_, needed)| *needed > 0);
        let on_member = |(member, needed)| OnMember {
            member,
            needed,
            found: 0,
        };
        Self(needed.map(on_member).collect())
    }

    /// Whether enough has been found on every member.
    pub(crate) fn is_met(&self) -> bool {
        self.0.iter().all(|it| it.found >= it.needed)
    }

    /// A member on which more is needed than was found.
    pub(crate) fn unmet_on(&self) -> Option<MemberId> {
        let unmet = self.0.iter().find(|it| it.found < it.needed);
        unmet.map(|it| it.member)
    }

    /// Whether `object` holds something on a member on which more is needed than was found.
    pub(crate) fn needs(&self, object: &Object) -> bool {
        let is_unmet = |it: &OnMember, member| it.member == member && it.found < it.needed;
        let mut needs = false;
        object.each_holder(|_, member| needs |= self.0.iter().any(|it| is_unmet(it, member)));
        needs
    }

    /// Adds what `object` holds if some of it is needed; whether it is.
    pub(crate) fn add(&mut self, object: &Object) -> bool {
        let needs = self.needs(object);
        if needs {
            object.each_holder(|index, member| {
                if let Some(it) = self.0.iter_mut().find(|it| it.member == member) {
                    it.found += object.footprint(index);
                }
            });
        }
        needs
    }

    /// Takes what an object that was added holds away again if enough is found without it; whether
    /// it is.
    pub(crate) fn spare(&mut self, object: &Object) -> bool {
        let mut without = self.clone();
        object.each_holder(|index, member| {
            if let Some(it) = without.0.iter_mut().find(|it| it.member == member) {
                it.found = it.found.saturating_sub(object.footprint(index));
            }
        });
        let is_met = without.is_met();
        if is_met {
            *self = without;
        }
        is_met
    }
}
