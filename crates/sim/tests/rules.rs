//! Each rule of the protocol left out is missed.
//!
//! `SIMULATION_RULE` names one, or several separated by commas; `SIMULATION_COUNT` is how many
//! seeds of each kind of faults are tried.

mod search;

use std::{collections::BTreeSet, env, fs, path::Path};

use infinicache_sim::{Faults, RULES};

use self::search::{search, setting};

/// Rules that are soon missed, and by which faults. The others are seldom.
const SOON_MISSED: &[(&str, Faults)] = &[
    ("delete_quorum", Faults::Often),
    ("distinct_epochs", Faults::Often),
    ("distinct_indexes", Faults::Often),
    ("expiry_acknowledged", Faults::Often),
    ("expiry_sequence", Faults::Often),
    ("holders_in_force", Faults::Often),
];

/// Seeds that are run before it is looked which fail points were reached.
const SEEDS_A_STEP: u64 = 40;

/// Seeds within which they have to be.
const ENOUGH: u64 = 300;

/// The first seed that misses rules, among `count` of each of `kinds` of faults.
fn miss(names: &str, kinds: &[Faults], count: u64) -> Option<(Faults, u64, String)> {
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    kinds.iter().find_map(|faults| {
        let (_, failed) = search(0, count, *faults, &names);
        failed.map(|(seed, violations)| (*faults, seed, violations[0].clone()))
    })
}

#[test]
fn a_rule_that_is_left_out_is_missed() {
    let count = setting("SIMULATION_COUNT").unwrap_or(ENOUGH);
    if let Ok(chosen) = env::var("SIMULATION_RULE") {
        let all = [Faults::Often, Faults::Within, Faults::Beyond];
        match miss(&chosen, &all, count) {
            Some((faults, seed, why)) => println!("{chosen}: seed {seed}, {faults:?}: {why}"),
            None => panic!("nobody misses {chosen}"),
        }
        return;
    }
    let mut unnoticed: Vec<_> = SOON_MISSED.iter().collect();
    unnoticed.retain(|(names, faults)| miss(names, &[*faults], count).is_none());
    assert!(unnoticed.is_empty(), "nobody misses {unnoticed:?}");
}

#[test]
fn each_fail_point_of_the_programs_is_a_rule() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    for name in ["client", "engine", "membership", "node", "proxy"] {
        collect(&crates.join(name).join("src"), &mut found);
    }
    let rules: BTreeSet<String> = RULES.iter().map(|(rule, _)| (*rule).to_owned()).collect();
    assert_eq!(found, rules);
}

/// The names of the fail points in the sources below a folder.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let points = text.split("fail_point(\"").skip(1);
            found.extend(points.map(|it| it.split('"').next().unwrap().to_owned()));
        }
    }
}

#[test]
fn the_programs_come_by_each_fail_point() {
    let mut missing: Vec<_> = RULES.iter().collect();
    // Some are rare.
    for first in (0..10).map(|step| step * SEEDS_A_STEP) {
        for faults in [Faults::Within, Faults::Often, Faults::Beyond] {
            let (sum, _) = search(first, SEEDS_A_STEP, faults, &[]);
            missing.retain(|(rule, _)| !sum.reached.contains_key(rule));
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("{missing:?}");
}
