//! Volumes' content: copy-up, backup to tar.zst or tar, restore, difference of two trees.
