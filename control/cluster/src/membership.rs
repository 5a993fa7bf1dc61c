//! Who is there, and what follows from it.
