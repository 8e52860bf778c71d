// A shard: a dag-cbor block of rows of one contributor, below 64 KiB, named by its CID. What a datanet is made of, what
// peers pull and verify, what a row's address points into.

package import Primitives

package struct Shard: Hashable, Sendable {
    package static let version: UInt64 = 1

    package let contributor: AccountID
    /// Of every row that names none of its own.
    package let licence: String
    package let rows: [Row]

    /// Cuts rows into shards, in order, each as full as the limits allow. Rows must have passed `RowFile` or decoding.
    package static func cut(_ rows: [Row], contributor: AccountID, licence: String) -> [Shard] {
        var shards: [Shard] = []
        var current: [Row] = []
        var bytes = 0
        for row in rows {
            let size = row.cbor.encoded().count
            precondition(size <= DatanetLimits.rowBytesMax, "a row that no reader let pass")
            let isFull =
                bytes + size > DatanetLimits.shardRowBytesMax || current.count == DatanetLimits.rowsPerShardMax
            if isFull, !current.isEmpty {
                shards.append(Shard(contributor: contributor, licence: licence, rows: current))
                current = []
                bytes = 0
            }
            current.append(row)
            bytes += size
        }
        if !current.isEmpty { shards.append(Shard(contributor: contributor, licence: licence, rows: current)) }
        return shards
    }

    private init(contributor: AccountID, licence: String, rows: [Row]) {
        self.contributor = contributor
        self.licence = licence
        self.rows = rows
    }

    package func encoded() -> [UInt8] {
        CBOR.map([
            "v": .unsigned(Self.version), "contributor": .account(contributor), "license": .text(licence),
            "rows": .array(rows.map(\.cbor)),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(
            decoding: bytes, "Shard", limits: CBORLimits(bytesMax: DatanetLimits.shardBytesMax, depthMax: 4))
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        contributor = try fields.account("contributor")
        licence = try fields.text("license", max: DatanetLimits.licenceBytesMax)
        var rows: [Row] = []
        for item in try fields.array("rows", max: DatanetLimits.rowsPerShardMax) { rows.append(try Row(cbor: item)) }
        guard !rows.isEmpty else { throw fields.fault("rows", "is empty") }
        self.rows = rows
        try fields.finish()
    }

    /// The leaves of the contribution's row tree that are this shard's: each row's canonical form.
    package var rowLeaves: [[UInt8]] { rows.map { $0.cbor.encoded() } }

    /// The row's own licence, or the shard's.
    package func licence(of index: Int) -> String {
        rows.indices.contains(index) ? rows[index].licence ?? licence : licence
    }
}
