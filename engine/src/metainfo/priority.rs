//! Owns [`Priority`]: what the user wants of a file, and so of its pieces.

/// How much the user wants something; the order is that of the download.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After everything else.
    Low,
    /// As the strategy decides.
    #[default]
    Normal,
    /// Before everything else.
    High,
}
