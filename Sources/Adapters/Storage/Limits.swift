// The store's limits in one place. Each is reached in a test.

/// Limits of the LMDB store. Sizes in bytes, times in the unit that ends the name.
package enum StoreLimits {
    /// LMDB's own limit for a key (mdb_env_get_maxkeysize of the default build).
    package static let keyBytesMax = 511
    /// Values above this are files: LMDB pays five times the CPU for them (see Protocol/storage.md).
    package static let valueBytesMax = 4 << 20
    /// Blocks from this size on live in the blob folder.
    package static let inlineBlockBytesMax = 64 << 10
    /// What may wait for the writer before `write` refuses.
    package static let writerQueueBytesMax = 64 << 20
    /// What one transaction takes at most from the queue.
    package static let groupBytesMax = 16 << 20
    package static let groupSetsMax = 4096
    /// Pages of the tree that a small group may rewrite; an EIO with less than this free is a full disk.
    static let fullDiskSlackBytes: UInt64 = 1 << 20
    /// Read transactions that may exist at one time, over all threads.
    package static let readersMax: UInt32 = 512
    /// Read transactions kept ready for reuse.
    package static let idleReadersMax = 16
    package static let tablesMax: UInt32 = 64
    /// While the map must grow, readers may still come for this long, …
    package static let growthPoliteMilliseconds = 500
    /// … then newcomers wait, and after this the write is given up with `growthBlocked`.
    package static let growthMillisecondsMax = 10_000
    /// Pages that the check at open reads (64 MiB of a 4 KiB-page file); `Store.check` reads all.
    package static let openCheckPagesMax = 16_384
    /// Keys that one scan may return, whatever the caller asks.
    package static let scanEntriesMax = 65_536
    package static let scanBytesMax = 64 << 20
}
