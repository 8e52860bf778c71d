// The owner's API keys on the disk: digests, limits and what was spent, never the keys themselves.

package import Gateway
package import Primitives
package import Storage

package struct APIKeyShelf: APIKeyStore {
    private static let table: TableID = "apikeys"
    package static let tables: [TableID] = [table]
    private static let version: UInt64 = 1
    private static let recordsMax = 1_024

    private let store: Store

    package init(store: Store) { self.store = store }

    package func records() throws(AnswerFault) -> [APIKeyRecord] {
        do {
            return try store.scan(Scan(Self.table, limit: Self.recordsMax)).entries.map { entry throws in
                try Self.decode(entry.key, entry.value)
            }
        } catch {
            throw Self.fault(error)
        }
    }

    package func put(_ record: APIKeyRecord, done: @escaping @Sendable (AnswerFault?) -> Void) {
        write(StoreWrite(table: Self.table, key: record.digest.bytes, value: Self.encode(record)), done)
    }

    package func remove(_ digest: Digest, done: @escaping @Sendable (AnswerFault?) -> Void) {
        write(StoreWrite(table: Self.table, key: digest.bytes, value: nil), done)
    }

    private func write(_ write: StoreWrite, _ done: @escaping @Sendable (AnswerFault?) -> Void) {
        do {
            try store.write([write]) { result in
                switch result {
                case .success: done(nil)
                case .failure(let fault): done(Self.fault(fault))
                }
            }
        } catch {
            done(Self.fault(error))
        }
    }

    private static func fault(_ error: any Error) -> AnswerFault {
        AnswerFault(.broken, "the API keys cannot be kept: \(error); run: openledger doctor", code: "storage")
    }

    // MARK: Codec

    private static func encode(_ record: APIKeyRecord) -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(version)), ("name", .text(record.name)), ("created", .wallTime(record.created)),
            ("period", .text(record.limits.period.rawValue)), ("spent", .amount(record.spent)),
            ("turn", .unsigned(record.period)), ("requests", .unsigned(record.requests)),
            ("tokens", .unsigned(record.tokens)),
        ]
        if let rate = record.limits.requestsPerMinute { pairs.append(("rpm", .unsigned(UInt64(clamping: rate)))) }
        if let rate = record.limits.tokensPerMinute { pairs.append(("tpm", .unsigned(UInt64(clamping: rate)))) }
        if let spend = record.limits.spend { pairs.append(("spend", .amount(spend))) }
        return CBOR.map(pairs).encoded()
    }

    private static func decode(_ key: [UInt8], _ value: [UInt8]) throws -> APIKeyRecord {
        func fault(_ reason: String) -> StorageFault {
            .undecodable(table: table, key: Hex.encode(key), reason: reason)
        }
        var fields = try CBORFields(decoding: value, "APIKey")
        guard let digest = Digest(key) else { throw fault("its key is no digest") }
        guard try fields.unsigned("v") == version else { throw fault("a version that is not known") }
        guard let period = SpendPeriod(rawValue: try fields.text("period", max: 16)) else {
            throw fault("a period that is not known")
        }
        var limits = APIKeyLimits(period: period)
        if case .unsigned(let rate) = fields.optionalValue("rpm") { limits.requestsPerMinute = Int(clamping: rate) }
        if case .unsigned(let rate) = fields.optionalValue("tpm") { limits.tokensPerMinute = Int(clamping: rate) }
        if case .bytes(let bytes) = fields.optionalValue("spend") { limits.spend = Amount(bigEndian: bytes) ?? .zero }
        let record = APIKeyRecord(
            digest: digest, name: try fields.text("name", max: APIKeyRecord.nameBytesMax), limits: limits,
            created: try fields.wallTime("created"), spent: try fields.amount("spent"),
            period: try fields.unsigned("turn"), requests: try fields.unsigned("requests"),
            tokens: try fields.unsigned("tokens"))
        try fields.finish()
        return record
    }
}
