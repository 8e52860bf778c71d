// What every object of the chain has in common: one canonical dag-cbor form, a size limit, a digest that is the SHA-256 of
// that form. Decoding is strict, so encoding what was decoded gives the same bytes, and an object may be passed around as
// a value without losing the bytes that were signed.

public import Primitives

public protocol ChainObject: Hashable, Sendable {
    /// The longest encoding that is accepted, in bytes.
    static var bytesMax: Int { get }
    var cbor: CBOR { get }
    init(cbor: CBOR) throws(CBORFault)
}

extension ChainObject {
    public func encoded() -> [UInt8] { cbor.encoded() }

    /// SHA-256 of the encoding; with codec dag-cbor it is the object's CID.
    public var digest: Digest { Digest(sha256: encoded()) }

    /// A full object of ours has more than eight bytes a value, so this many values suffice, and few bytes from outside
    /// cannot claim much memory.
    static var limits: CBORLimits { CBORLimits(bytesMax: bytesMax, valuesMax: bytesMax / 8 + 64) }

    public init(decoding bytes: [UInt8]) throws(CBORFault) {
        try self.init(cbor: CBOR.decode(bytes, limits: Self.limits))
    }
}

extension CBORFields {
    /// Reads `v`, which is the first key of every versioned object.
    mutating func version(_ expected: UInt64) throws(CBORFault) {
        guard try unsigned("v") == expected else { throw fault("v", "is a version that is not known") }
    }

    /// Reads a field that may be absent; one that is there must be well formed.
    mutating func optional<Value>(
        _ key: String, _ read: (inout CBORFields) throws(CBORFault) -> Value
    ) throws(CBORFault) -> Value? {
        guard let value = optionalValue(key) else { return nil }
        guard case .field(_, in: let object, _) = fault(key, "") else { return nil }
        var single = try CBORFields(.map([(key, value)]), object)
        return try read(&single)
    }

    mutating func items<Value>(
        _ key: String, max: Int, _ read: (CBOR) throws(CBORFault) -> Value
    ) throws(CBORFault) -> [Value] {
        var values: [Value] = []
        for item in try array(key, max: max) { values.append(try read(item)) }
        return values
    }

    mutating func links(_ key: String, max: Int) throws(CBORFault) -> [CID] {
        var links: [CID] = []
        for item in try array(key, max: max) {
            guard case .link(let cid) = item else { throw fault(key, "holds something that is not a link") }
            links.append(cid)
        }
        return links
    }

    mutating func object<Value: ChainObject>(_ key: String, as: Value.Type = Value.self) throws(CBORFault) -> Value {
        try Value(cbor: try value(key))
    }
}

extension [(String, CBOR)] {
    /// Appends a field that is left out when there is nothing to say.
    mutating func add(_ key: String, ifPresent value: CBOR?) {
        if let value { append((key, value)) }
    }
}
