//! Objects that are kept for longer than the bytes that they were read from.

/// Something that can be kept.
pub trait Keep {
    /// What is kept.
    type Kept;

    /// A copy that borrows nothing.
    fn keep(&self) -> Self::Kept;

    /// About how many bytes a copy takes beside itself.
    fn held(&self) -> usize;
}

impl<T: Keep> Keep for Option<T> {
    type Kept = Option<T::Kept>;

    fn keep(&self) -> Self::Kept {
        self.as_ref().map(Keep::keep)
    }

    fn held(&self) -> usize {
        self.as_ref().map_or(0, Keep::held)
    }
}

impl<T: Keep> Keep for Vec<T> {
    type Kept = Vec<T::Kept>;

    fn keep(&self) -> Self::Kept {
        self.iter().map(Keep::keep).collect()
    }

    fn held(&self) -> usize {
        self.iter().map(|element| size_of::<T>() + element.held()).sum()
    }
}

macro_rules! copied {
    ($($type:ty),*) => {
        $(impl Keep for $type {
            type Kept = $type;

            fn keep(&self) -> $type {
                *self
            }

            fn held(&self) -> usize {
                0
            }
        })*
    };
}

copied!(bool, i64);
