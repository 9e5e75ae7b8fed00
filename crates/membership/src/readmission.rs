//! Readmission: members that were removed or may have missed changes, and how they come back.
//!
//! ```text
//!   counts ── removed ───▶ out ── answers again ──▶ returning ── fits the metadata ──▶ counts
//!     │                                              ▲     │ does not answer
//!     └──────────── linked anew ─────────────────────┤     ▼
//!                                                    └──── unfit: until it answers again
//! ```
//!
//! Who returns has to hear of every change meanwhile. Values must stay recoverable
//! without all who are out, for they may never come back: no more than the parity are.

use std::collections::BTreeSet;

/// The members that are not known to match the metadata.
#[derive(Clone, Debug)]
pub struct Readmission<M> {
    parity: usize,
    /// Members that were removed, and are neither back nor gone for good.
    out: BTreeSet<M>,
    /// Members that are being reconciled.
    returning: BTreeSet<M>,
    /// Members that were linked anew meanwhile, and may have missed something since.
    relinked: BTreeSet<M>,
    /// Members that did not answer while they were reconciled.
    unfit: BTreeSet<M>,
}

/// More members would be out than values can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRemoved(pub usize);

/// The result of reconciling a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadmissionOutcome {
    /// It may join.
    Joins,
    /// It is out, until it answers or is linked anew.
    StaysOut,
    /// It was linked anew meanwhile: what was found before says nothing of what it holds now.
    Again,
}

impl<M: Copy + Ord> Readmission<M> {
    /// Every member matches; values can do without `parity` of them.
    pub fn new(parity: usize) -> Self {
        Self {
            parity,
            out: BTreeSet::new(),
            returning: BTreeSet::new(),
            relinked: BTreeSet::new(),
            unfit: BTreeSet::new(),
        }
    }

    /// Members are to be removed, because they do not answer.
    ///
    /// # Errors
    ///
    /// [`TooManyRemoved`], if they cannot be done without; then nothing has changed.
    pub fn remove(&mut self, members: &[M]) -> Result<(), TooManyRemoved> {
        let out: BTreeSet<M> = self.out.iter().chain(members).copied().collect();
        if out.len() > self.parity {
            return Err(TooManyRemoved(out.len()));
        }
        self.out = out;
        for member in members {
            self.returning.remove(member);
            self.relinked.remove(member);
        }
        Ok(())
    }

    /// A member is linked anew; whether it is to be reconciled now.
    pub fn returned(&mut self, member: M) -> bool {
        let is_due = self.returning.insert(member);
        if !is_due {
            self.relinked.insert(member);
        }
        is_due
    }

    /// A member answers, that `may_join` if it is not one at present; whether it is to be
    /// reconciled now.
    pub fn answered(&mut self, member: M, may_join: bool) -> bool {
        let is_due = may_join || self.unfit.contains(&member);
        let returns = is_due && self.returning.insert(member);
        if returns {
            self.unfit.remove(&member);
        }
        returns
    }

    /// A member was reconciled, or could not be.
    pub fn concluded(&mut self, member: M, fits: bool) -> ReadmissionOutcome {
        if self.relinked.remove(&member) {
            return ReadmissionOutcome::Again;
        }
        // Unless it was removed meanwhile.
        let may_join = self.returning.remove(&member);
        if !fits {
            self.unfit.insert(member);
        }
        match fits && may_join {
            true => {
                self.out.remove(&member);
                ReadmissionOutcome::Joins
            }
            false => ReadmissionOutcome::StaysOut,
        }
    }

    /// A member is gone for good.
    pub fn gone(&mut self, member: M) {
        self.out.remove(&member);
        self.returning.remove(&member);
        self.relinked.remove(&member);
        self.unfit.remove(&member);
    }

    /// Whether a member has to hear of every change, though it may not count yet.
    pub fn is_returning(&self, member: M) -> bool {
        self.returning.contains(&member)
    }

    /// Whether a member was removed, and is neither back nor gone.
    pub fn is_out(&self, member: M) -> bool {
        self.out.contains(&member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_out_at_once_than_values_can_do_without() {
        let mut readmission = Readmission::new(2);
        assert_eq!(readmission.remove(&[1]), Ok(()));
        assert_eq!(readmission.remove(&[2, 3]), Err(TooManyRemoved(3)));
        assert_eq!(readmission.remove(&[1, 2]), Ok(()));
        readmission.gone(1);
        assert_eq!(readmission.remove(&[3]), Ok(()));
    }

    #[test]
    fn who_is_out_comes_back_when_it_answers_and_fits() {
        let mut readmission = Readmission::new(1);
        readmission.remove(&[1]).unwrap();
        assert!(readmission.answered(1, true));
        assert!(readmission.is_returning(1) && readmission.is_out(1));
        assert!(!readmission.answered(1, true), "it is being reconciled");
        assert_eq!(readmission.concluded(1, true), ReadmissionOutcome::Joins);
        assert!(!readmission.is_returning(1) && !readmission.is_out(1));
    }

    #[test]
    fn who_is_removed_while_it_returns_does_not_join() {
        let mut readmission = Readmission::new(1);
        assert!(readmission.returned(1));
        readmission.remove(&[1]).unwrap();
        assert_eq!(readmission.concluded(1, true), ReadmissionOutcome::StaysOut);
        assert!(readmission.is_out(1));
    }

    #[test]
    fn who_could_not_be_made_to_fit_is_tried_again_when_it_answers() {
        let mut readmission = Readmission::new(1);
        assert!(readmission.returned(1));
        assert_eq!(
            readmission.concluded(1, false),
            ReadmissionOutcome::StaysOut
        );
        assert!(readmission.answered(1, false), "a member all along");
        assert_eq!(readmission.concluded(1, true), ReadmissionOutcome::Joins);
        assert!(!readmission.answered(1, false));
    }

    #[test]
    fn what_was_found_over_an_earlier_link_says_nothing_of_a_member() {
        for fits in [true, false] {
            let mut readmission = Readmission::new(1);
            assert!(readmission.returned(1));
            assert!(!readmission.returned(1), "over another link");
            assert_eq!(readmission.concluded(1, fits), ReadmissionOutcome::Again);
            assert!(readmission.is_returning(1));
            assert_eq!(readmission.concluded(1, true), ReadmissionOutcome::Joins);
        }
    }
}
