// Tables by name, and the typed view of a table: a pair of codecs over the bytes that LMDB holds.

package import Primitives

/// The name of a table. Tables are part of the schema: a store opens with all of them or not at all.
package struct TableID: Hashable, Sendable, Comparable, ExpressibleByStringLiteral {
    package let name: String

    package init(_ name: String) { self.name = name }
    package init(stringLiteral value: String) { name = value }
    package static func < (one: Self, other: Self) -> Bool { one.name < other.name }
}

/// One change of one key: a value to put, or nil to delete (deleting what is absent is no fault).
package struct StoreWrite: Hashable, Sendable {
    package let table: TableID
    package let key: [UInt8]
    package let value: [UInt8]?

    package init(table: TableID, key: [UInt8], value: [UInt8]?) {
        self.table = table
        self.key = key
        self.value = value
    }

    var byteCount: Int { key.count + (value?.count ?? 0) }
}

/// How one type is laid down as bytes. `decode` answers nil for bytes that it did not write.
package struct Codec<Element>: Sendable {
    package let encode: @Sendable (Element) -> [UInt8]
    package let decode: @Sendable ([UInt8]) -> Element?

    package init(
        encode: @escaping @Sendable (Element) -> [UInt8], decode: @escaping @Sendable ([UInt8]) -> Element?
    ) {
        self.encode = encode
        self.decode = decode
    }
}

extension Codec where Element == [UInt8] {
    package static var bytes: Self { Self(encode: { $0 }, decode: { $0 }) }
}

extension Codec where Element == String {
    package static var text: Self {
        Self(encode: { Array($0.utf8) }, decode: { String(validating: $0, as: UTF8.self) })
    }
}

extension Codec where Element == UInt64 {
    /// Eight bytes, big-endian, so that a scan comes in numeric order.
    package static var uint64: Self {
        Self(
            encode: { number in (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) } },
            decode: { bytes in bytes.count == 8 ? bytes.reduce(0) { $0 << 8 | UInt64($1) } : nil })
    }
}

extension Codec where Element == CID {
    package static var cid: Codec<CID> { Self(encode: { $0.bytes }, decode: { try? CID(bytes: $0) }) }
}

extension Codec where Element == Digest {
    package static var digest: Codec<Digest> { Self(encode: { $0.bytes }, decode: { Digest($0) }) }
}

/// A table seen through its codecs. A value, cheap to make; it holds no store.
package struct Table<Key: Sendable, Value: Sendable>: Sendable {
    package let id: TableID
    package let keys: Codec<Key>
    package let values: Codec<Value>

    package init(_ id: TableID, keys: Codec<Key>, values: Codec<Value>) {
        self.id = id
        self.keys = keys
        self.values = values
    }

    /// The write that sets `key` to `value`, for `Store.write`.
    package func put(_ key: Key, _ value: Value) -> StoreWrite {
        StoreWrite(table: id, key: keys.encode(key), value: values.encode(value))
    }

    package func delete(_ key: Key) -> StoreWrite {
        StoreWrite(table: id, key: keys.encode(key), value: nil)
    }

    func decodeKey(_ bytes: [UInt8]) throws(StorageFault) -> Key {
        guard let key = keys.decode(bytes) else {
            throw .undecodable(table: id, key: Hex.encode(bytes), reason: "not a key of this table")
        }
        return key
    }

    func decodeValue(_ bytes: [UInt8], key: [UInt8]) throws(StorageFault) -> Value {
        guard let value = values.decode(bytes) else {
            throw .undecodable(table: id, key: Hex.encode(key), reason: "not a value of this table")
        }
        return value
    }
}
