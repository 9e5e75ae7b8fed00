//! Members that were expelled or may have missed something, and how they come back.
//!
//! ```text
//!   counts ── expelled ──▶ out ── answers again ──▶ returning ── fits the metadata ──▶ counts
//!     │                                              ▲     │ does not answer
//!     └──────────── linked anew ─────────────────────┤     ▼
//!                                                    └──── unfit: until it answers again
//! ```
//!
//! Who returns has to hear of every change meanwhile. Values must stay recoverable
//! without all who are out, for they may never come back: no more than the parity are.

use std::collections::BTreeSet;

/// Who is not known to fit the metadata.
#[derive(Clone, Debug)]
pub struct Absence<M> {
    parity: usize,
    /// Who was expelled, and is neither back nor gone for good.
    out: BTreeSet<M>,
    /// Who is being made to fit.
    returning: BTreeSet<M>,
    /// Who was linked anew while it was, and may have missed something since.
    linked_anew: BTreeSet<M>,
    /// Who did not answer while it was.
    unfit: BTreeSet<M>,
}

/// More members would be out than values can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// What becomes of a member that was to be made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may join.
    Joins,
    /// It is out, until it answers or is linked anew.
    StaysOut,
    /// It was linked anew meanwhile: what was found before says nothing of what it holds now.
    Again,
}

impl<M: Copy + Ord> Absence<M> {
    /// Everybody fits; values can do without `parity` of them.
    pub fn new(parity: usize) -> Self {
        Self {
            parity,
            out: BTreeSet::new(),
            returning: BTreeSet::new(),
            linked_anew: BTreeSet::new(),
            unfit: BTreeSet::new(),
        }
    }

    /// Members are to be expelled, because they do not answer.
    ///
    /// # Errors
    ///
    /// [`TooMany`], if they cannot be done without; then nothing has changed.
    pub fn expel(&mut self, members: &[M]) -> Result<(), TooMany> {
        let out: BTreeSet<M> = self.out.iter().chain(members).copied().collect();
        if out.len() > self.parity {
            return Err(TooMany(out.len()));
        }
        self.out = out;
        for member in members {
            self.returning.remove(member);
            self.linked_anew.remove(member);
        }
        Ok(())
    }

    /// A member is linked anew; whether it is to be made to fit now.
    pub fn returned(&mut self, member: M) -> bool {
        let is_due = self.returning.insert(member);
        if !is_due {
            self.linked_anew.insert(member);
        }
        is_due
    }

    /// A member answers, that `may_join` if it is not one at present; whether it is to be made
    /// to fit now.
    pub fn answered(&mut self, member: M, may_join: bool) -> bool {
        let is_due = may_join || self.unfit.contains(&member);
        let returns = is_due && self.returning.insert(member);
        if returns {
            self.unfit.remove(&member);
        }
        returns
    }

    /// A member could not be made to fit, or does.
    pub fn concluded(&mut self, member: M, fits: bool) -> Outcome {
        if self.linked_anew.remove(&member) {
            return Outcome::Again;
        }
        // Unless it was expelled meanwhile.
        let may_join = self.returning.remove(&member);
        if !fits {
            self.unfit.insert(member);
        }
        match fits && may_join {
            true => {
                self.out.remove(&member);
                Outcome::Joins
            }
            false => Outcome::StaysOut,
        }
    }

    /// A member is gone for good.
    pub fn gone(&mut self, member: M) {
        self.out.remove(&member);
        self.returning.remove(&member);
        self.linked_anew.remove(&member);
        self.unfit.remove(&member);
    }

    /// Whether a member has to hear of every change, though it may not count yet.
    pub fn is_returning(&self, member: M) -> bool {
        self.returning.contains(&member)
    }

    /// Whether a member was expelled, and is neither back nor gone.
    pub fn is_out(&self, member: M) -> bool {
        self.out.contains(&member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_out_at_once_than_values_can_do_without() {
        let mut absence = Absence::new(2);
        assert_eq!(absence.expel(&[1]), Ok(()));
        assert_eq!(absence.expel(&[2, 3]), Err(TooMany(3)));
        assert_eq!(absence.expel(&[1, 2]), Ok(()));
        absence.gone(1);
        assert_eq!(absence.expel(&[3]), Ok(()));
    }

    #[test]
    fn who_is_out_comes_back_when_it_answers_and_fits() {
        let mut absence = Absence::new(1);
        absence.expel(&[1]).unwrap();
        assert!(absence.answered(1, true));
        assert!(absence.is_returning(1) && absence.is_out(1));
        assert!(!absence.answered(1, true), "it is being made to fit");
        assert_eq!(absence.concluded(1, true), Outcome::Joins);
        assert!(!absence.is_returning(1) && !absence.is_out(1));
    }

    #[test]
    fn who_is_expelled_while_it_returns_does_not_join() {
        let mut absence = Absence::new(1);
        assert!(absence.returned(1));
        absence.expel(&[1]).unwrap();
        assert_eq!(absence.concluded(1, true), Outcome::StaysOut);
        assert!(absence.is_out(1));
    }

    #[test]
    fn who_could_not_be_made_to_fit_is_tried_again_when_it_answers() {
        let mut absence = Absence::new(1);
        assert!(absence.returned(1));
        assert_eq!(absence.concluded(1, false), Outcome::StaysOut);
        assert!(absence.answered(1, false), "a member all along");
        assert_eq!(absence.concluded(1, true), Outcome::Joins);
        assert!(!absence.answered(1, false));
    }

    #[test]
    fn what_was_found_over_an_earlier_link_says_nothing_of_a_member() {
        for fits in [true, false] {
            let mut absence = Absence::new(1);
            assert!(absence.returned(1));
            assert!(!absence.returned(1), "over another link");
            assert_eq!(absence.concluded(1, fits), Outcome::Again);
            assert!(absence.is_returning(1));
            assert_eq!(absence.concluded(1, true), Outcome::Joins);
        }
    }
}
