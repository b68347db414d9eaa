//! Owns the plan of a swarm without its attackers: what a run under attack is compared with.
//!
//! Invariant: hosts that stay keep their names, addresses, links and moments, so that both runs draw the
//! same from the same streams; what the file expects falls away, since it speaks of the attack.

use super::{FaultKind, Plan, Role};

impl Plan {
    /// This plan without its attackers, and without the faults that hit nobody else.
    #[must_use]
    pub(crate) fn without_attackers(mut self) -> Plan {
        let mut places = Vec::with_capacity(self.hosts.len());
        let mut kept = 0;
        for host in &self.hosts {
            let stays = host.role != Role::Attacker;
            places.push(stays.then_some(kept));
            kept += usize::from(stays);
        }
        let moved = |hosts: &mut Vec<usize>| {
            *hosts = hosts.iter().filter_map(|host| places[*host]).collect();
        };
        self.faults.retain_mut(|fault| {
            let hit_somebody = !fault.hosts.is_empty();
            moved(&mut fault.hosts);
            let mut sides = true;
            if let FaultKind::Partition { a, b, .. } = &mut fault.kind {
                moved(a);
                moved(b);
                sides = !a.is_empty() && !b.is_empty();
            }
            sides && !(hit_somebody && fault.hosts.is_empty())
        });
        self.hosts.retain(|host| host.role != Role::Attacker);
        self.expect.clear();
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;
    use crate::scenario::plan::{FaultKind, HostPlan, Role};

    const FILE: &str = r#"
name = "mixed"
[torrent]
size = "1 MiB"
[[group]]
name = "bad"
role = "attacker"
attack = "never-deliver"
count = 2
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
count = 2
up = "1 MiB/s"
down = "1 MiB/s"
[[fault.crash]]
at = "1 s"
who = "bad"
[[fault.partition]]
at = "2 s"
for = "1 s"
between = ["home", "seed"]
[[fault.partition]]
at = "9 s"
for = "1 s"
between = ["home", "bad"]
[expect]
complete = "all honest"
"banned.bad" = "== 2"
"#;

    #[test]
    fn who_stays_is_as_before_and_faults_follow_them() {
        let scenario = Scenario::parse("mixed.toml", FILE).expect("right");
        let (all, clean) = (scenario.expand(3), scenario.clean().expand(3));
        assert!(clean.hosts.iter().all(|h| h.role != Role::Attacker));
        let said = |hosts: &[HostPlan]| format!("{hosts:?}");
        assert_eq!(said(&clean.hosts), said(&all.hosts[2..]));
        let [fault] = &clean.faults[..] else {
            panic!("{:?}", clean.faults)
        };
        let FaultKind::Partition { a, b, .. } = &fault.kind else {
            panic!("{fault:?}")
        };
        assert_eq!((&a[..], &b[..]), (&[1, 2][..], &[0][..]));
        assert!(clean.expect.is_empty());
    }
}
