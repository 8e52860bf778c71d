// Typed reading of a DAG-CBOR map: each field once, by name, within bounds; what is left over is refused. A fault names
// the object and the field.

public struct CBORFields: Sendable {
    private var entries: [String: CBOR] = [:]
    private let object: String

    /// - Parameter object: what is being read, for the fault's text ("Receipt").
    public init(_ value: CBOR, _ object: String) throws(CBORFault) {
        guard case .entries(let entries) = value else { throw .field("", in: object, "is not a map") }
        self.object = object
        for entry in entries { self.entries[entry.key] = entry.value }
    }

    public init(decoding bytes: [UInt8], _ object: String, limits: CBORLimits = .default) throws(CBORFault) {
        try self.init(try CBOR.decode(bytes, limits: limits), object)
    }

    /// Refuses fields that nobody asked for: a reader of version n must not sign what only version n+1 understands.
    public func finish() throws(CBORFault) {
        guard let key = entries.keys.min() else { return }
        throw .field(key, in: object, "is not known")
    }

    public func fault(_ key: String, _ reason: String) -> CBORFault { .field(key, in: object, reason) }

    public mutating func value(_ key: String) throws(CBORFault) -> CBOR {
        guard let value = entries.removeValue(forKey: key) else { throw fault(key, "is missing") }
        return value
    }

    /// nil when the field is absent; an explicit null is a value.
    public mutating func optionalValue(_ key: String) -> CBOR? { entries.removeValue(forKey: key) }

    public mutating func unsigned(_ key: String, max: UInt64 = .max) throws(CBORFault) -> UInt64 {
        guard case .unsigned(let value) = try value(key) else { throw fault(key, "is not an unsigned integer") }
        guard value <= max else { throw fault(key, "is above \(max)") }
        return value
    }

    public mutating func signed(_ key: String) throws(CBORFault) -> Int64 {
        switch try value(key) {
        case .unsigned(let value):
            guard let narrow = Int64(exactly: value) else { throw fault(key, "is too large") }
            return narrow
        case .negative(let value):
            guard let narrow = Int64(exactly: value) else { throw fault(key, "is too small") }
            return -1 - narrow
        default: throw fault(key, "is not an integer")
        }
    }

    public mutating func bytes(_ key: String, max: Int) throws(CBORFault) -> [UInt8] {
        guard case .bytes(let bytes) = try value(key) else { throw fault(key, "is not bytes") }
        guard bytes.count <= max else { throw fault(key, "has more than \(max) bytes") }
        return bytes
    }

    public mutating func bytes(_ key: String, count: Int) throws(CBORFault) -> [UInt8] {
        let bytes = try bytes(key, max: count)
        guard bytes.count == count else { throw fault(key, "does not have \(count) bytes") }
        return bytes
    }

    public mutating func text(_ key: String, max: Int) throws(CBORFault) -> String {
        guard case .text(let text) = try value(key) else { throw fault(key, "is not text") }
        guard text.utf8.count <= max else { throw fault(key, "has more than \(max) bytes") }
        return text
    }

    public mutating func bool(_ key: String) throws(CBORFault) -> Bool {
        guard case .bool(let flag) = try value(key) else { throw fault(key, "is not true or false") }
        return flag
    }

    public mutating func link(_ key: String) throws(CBORFault) -> CID {
        guard case .link(let cid) = try value(key) else { throw fault(key, "is not a link") }
        return cid
    }

    public mutating func array(_ key: String, max: Int) throws(CBORFault) -> [CBOR] {
        guard case .array(let items) = try value(key) else { throw fault(key, "is not an array") }
        guard items.count <= max else { throw fault(key, "has more than \(max) items") }
        return items
    }

    public mutating func fields(_ key: String) throws(CBORFault) -> CBORFields {
        try CBORFields(try value(key), "\(object).\(key)")
    }

    public mutating func digest(_ key: String) throws(CBORFault) -> Digest {
        guard let digest = Digest(try bytes(key, count: Digest.byteCount)) else { throw fault(key, "is not a digest") }
        return digest
    }

    public mutating func network(_ key: String) throws(CBORFault) -> NetworkID { NetworkID(try digest(key)) }

    public mutating func publicKey(_ key: String) throws(CBORFault) -> PublicKey {
        let bytes = try bytes(key, count: PublicKey.byteCount)
        do { return try PublicKey(bytes) } catch { throw fault(key, "is not a valid Ed25519 key") }
    }

    public mutating func account(_ key: String) throws(CBORFault) -> AccountID { AccountID(try publicKey(key)) }

    public mutating func signature(_ key: String) throws(CBORFault) -> Signature {
        guard let signature = Signature(try bytes(key, count: Signature.byteCount)) else {
            throw fault(key, "is not a signature")
        }
        return signature
    }

    public mutating func amount(_ key: String) throws(CBORFault) -> Amount {
        guard let amount = Amount(bigEndian: try bytes(key, max: 16)) else {
            throw fault(key, "is not an amount in its shortest form")
        }
        return amount
    }

    public mutating func partsPerMillion(_ key: String) throws(CBORFault) -> PartsPerMillion {
        PartsPerMillion(UInt32(try unsigned(key, max: UInt64(PartsPerMillion.whole.value))))
    }

    public mutating func wallTime(_ key: String) throws(CBORFault) -> WallTime {
        WallTime(milliseconds: try signed(key))
    }

    public mutating func peer(_ key: String) throws(CBORFault) -> PeerID {
        guard let peer = PeerID(multihash: try bytes(key, max: PeerID.bytesMax)) else {
            throw fault(key, "is not a peer ID")
        }
        return peer
    }
}

extension CBOR {
    public static func digest(_ digest: Digest) -> CBOR { .bytes(digest.bytes) }
    public static func network(_ network: NetworkID) -> CBOR { .bytes(network.bytes) }
    public static func account(_ account: AccountID) -> CBOR { .bytes(account.bytes) }
    public static func publicKey(_ key: PublicKey) -> CBOR { .bytes(key.bytes) }
    public static func signature(_ signature: Signature) -> CBOR { .bytes(signature.bytes) }
    public static func amount(_ amount: Amount) -> CBOR { .bytes(amount.bigEndian) }
    public static func partsPerMillion(_ share: PartsPerMillion) -> CBOR { .unsigned(UInt64(share.value)) }
    public static func wallTime(_ time: WallTime) -> CBOR { .integer(time.milliseconds) }
    public static func peer(_ peer: PeerID) -> CBOR { .bytes(peer.bytes) }
}
