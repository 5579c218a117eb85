//! Content-addressed blobs: `blobs/sha256/<hex>`, written beside and renamed into place, never changed.
