// The limits of datanets in one place. Each is reached in a test or makes the next one hold.

package enum DatanetLimits {
    /// One line of a JSONL file, escapes included.
    package static let lineBytesMax = 128 << 10
    /// A file of rows.
    package static let fileBytesMax = 64 << 20
    /// A document that is cut into rows: PDF, Markdown, plain text.
    package static let documentBytesMax = 5_000_000
    /// What is cut out of a document as one row, without the headings before it.
    package static let passageBytesMax = 1024
    /// Fenced code that stays whole.
    package static let codeBytesMax = 8 << 10
    /// Headings before a passage, together.
    package static let headingsBytesMax = 256
    /// Of a document's name in its rows' `source`.
    package static let sourceNameBytesMax = 400
    /// Fields of a CSV record.
    package static let fieldsMax = 256
    /// Faults reported for one file; the rest is counted.
    package static let faultsMax = 100
    /// A row in its canonical form; so that a shard can always hold one.
    package static let rowBytesMax = 32 << 10
    package static let idBytesMax = 128
    package static let sourceBytesMax = 512
    package static let licenceBytesMax = 128
    /// Rows of a shard together; with its header the block stays below 64 KiB, which LMDB holds well.
    package static let shardRowBytesMax = 48 << 10
    package static let shardBytesMax = 60 << 10
    package static let rowsPerShardMax = 4096
    package static let shardsPerContributionMax = 1024
    package static let rowsPerContributionMax = 100_000
    package static let contributionBytesMax = 60 << 10
    package static let contributionsMax = 1024
    package static let manifestBytesMax = 60 << 10
    package static let nameBytesMax = 64
    package static let summaryBytesMax = 1024
    package static let tagsMax = 16
    package static let tagBytesMax = 32
    package static let nonceBytes = 16
    /// Datanets that one peer keeps books of.
    package static let datanetsMax = 1024
    /// Contributions of others that wait for this peer's owner, over all its datanets.
    package static let waitingMax = 256
    /// Blocks that the book waits for; beyond it announcements are refused.
    package static let wantedMax = 4096
}
