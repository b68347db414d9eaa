//! Owns lanes: tracks for what goes on several times at once.
//!
//! Invariant: what goes on has a lane of its own, the first free one, until it ends.

/// Lanes for what has keys of that type.
pub(super) struct Lanes<K> {
    /// The number of the first track.
    first: u32,
    name: &'static str,
    /// Who is in each lane.
    lanes: Vec<Option<K>>,
}

impl<K> Default for Lanes<K> {
    fn default() -> Lanes<K> {
        Lanes::new(0, "")
    }
}

impl<K> Lanes<K> {
    pub(super) fn new(first: u32, name: &'static str) -> Lanes<K> {
        let lanes = Vec::new();
        Lanes { first, name, lanes }
    }

    /// Something begins: its track, and the track's name when it is a new one.
    pub(super) fn begin(&mut self, key: K) -> (u32, Option<String>) {
        let free = self.lanes.iter().position(Option::is_none);
        let lane = free.unwrap_or(self.lanes.len());
        let number = u32::try_from(lane).expect("lanes are few");
        let new = free
            .is_none()
            .then(|| format!("{} {}", self.name, number + 1));
        match self.lanes.get_mut(lane) {
            Some(place) => *place = Some(key),
            None => self.lanes.push(Some(key)),
        }
        (self.first + number, new)
    }

    /// Everything ends: tells each track.
    pub(super) fn end_all(&mut self, mut on_track: impl FnMut(u32)) {
        for (number, place) in (self.first..).zip(&mut self.lanes) {
            if place.take().is_some() {
                on_track(number);
            }
        }
    }
}

impl<K: PartialEq> Lanes<K> {
    /// Something ends, if it goes on: its track.
    pub(super) fn end(&mut self, key: &K) -> Option<u32> {
        let lane = self.lanes.iter().position(|k| k.as_ref() == Some(key))?;
        self.lanes[lane] = None;
        Some(self.first + u32::try_from(lane).expect("lanes are few"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_used_again_when_it_is_free() {
        let mut lanes = Lanes::new(10, "slot");
        assert_eq!(lanes.begin('a'), (10, Some("slot 1".to_owned())));
        assert_eq!(lanes.begin('b'), (11, Some("slot 2".to_owned())));
        assert_eq!(lanes.end(&'a'), Some(10));
        assert_eq!(lanes.end(&'a'), None);
        assert_eq!(lanes.begin('c'), (10, None));
        let mut ended = Vec::new();
        lanes.end_all(|track| ended.push(track));
        assert_eq!(ended, [10, 11]);
    }
}
