// What an earlier run left, read back from the tables that the core wrote. Peer and Simulation share this, so that the
// restart that is simulated is the restart that happens at home.

import Ledger
import Primitives
import Records
import Sequencing

/// The store as a start needs it: what was durable when the last run ended.
package protocol TableReader {
    associatedtype ReadFault: Error
    func value(_ table: NodeTable, _ key: [UInt8]) throws(ReadFault) -> [UInt8]?
    /// Every entry whose key begins so, ascending by key.
    func all(_ table: NodeTable, prefix: [UInt8]) throws(ReadFault) -> [(key: [UInt8], value: [UInt8])]
}

extension Restored {
    package init<Reader: TableReader>(reading reader: Reader) throws(Reader.ReadFault) {
        self.init()
        hasGenesis = try reader.value(.meta, MetaKey.genesis) != nil
        if let height = try reader.value(.meta, MetaKey.tip), let bytes = try reader.value(.batches, height),
            let certified = try? CertifiedBatch(decoding: bytes)
        {
            var values: [StateKey: [UInt8]] = [:]
            for (key, value) in try reader.all(.state, prefix: []) {
                if let digest = Digest(key) { values[StateKey(digest: digest)] = value }
            }
            var nodes: [Digest: [UInt8]] = [:]
            for (key, value) in try reader.all(.nodes, prefix: []) {
                if let digest = Digest(key) { nodes[digest] = value }
            }
            tip = certified
            state = MemoryState(root: certified.header.stateRoot, values: values, nodes: nodes)
        }
        epochSeed = try reader.value(.meta, MetaKey.epochSeed).flatMap { Digest($0) }
        votes = try reader.all(.votes, prefix: []).compactMap { try? VoteRecord(decoding: $0.value) }
        purses = try reader.all(.allowances, prefix: Purse.storagePrefix).compactMap { try? Purse(decoding: $0.value) }
        vouchers = try reader.all(.allowances, prefix: Purse.voucherPrefix)
            .compactMap { try? SignedVoucher(decoding: $0.value) }
        for (_, bytes) in try reader.all(.pool, prefix: []) {
            let item = Array(bytes.dropFirst())
            switch bytes.first {
            case 0: if let receipt = try? SignedReceipt(decoding: item) { receipts.append(receipt) }
            case 1: if let transaction = try? SignedTransaction(decoding: item) { transactions.append(transaction) }
            default: break
            }
        }
        catalog = try reader.all(.catalog, prefix: []).compactMap {
            try? SignedEnvelope(decoding: $0.value, payloadBytesMax: ServingAdvert.bytesMax)
        }
        verdicts = try reader.all(.audits, prefix: AuditDesk.verdictPrefix)
            .compactMap { try? SignedVerdict(decoding: $0.value) }
        evidence = EvidenceBook(
            entries: try reader.all(.audits, prefix: EvidenceBook.evidencePrefix).map(\.value),
            distrusted: try reader.all(.audits, prefix: EvidenceBook.distrustPrefix))
        datanets = try reader.all(.meta, prefix: MetaKey.heldPrefix).compactMap {
            Digest($0.key.dropFirst(MetaKey.heldPrefix.count))
        }
        for (key, value) in try reader.all(.meta, prefix: MetaKey.keptPrefix) {
            if let cid = try? CID(bytes: key.dropFirst(MetaKey.keptPrefix.count)) { kept[cid] = KeptBlock(value) }
        }
        for (key, value) in try reader.all(.meta, prefix: MetaKey.checkedPrefix) {
            guard let cid = try? CID(bytes: key.dropFirst(MetaKey.checkedPrefix.count)),
                value.count.isMultiple(of: Digest.byteCount)
            else { continue }
            checkedRows[cid] = stride(from: 0, to: value.count, by: Digest.byteCount).compactMap {
                Digest(value[$0..<$0 + Digest.byteCount])
            }
        }
    }
}

extension Node {
    /// Batches write what they change; what they change it from must be there too.
    mutating func persistGenesis() {
        var writes: [NodeWrite] = []
        for (key, value) in chain.state.values.sorted(by: { $0.key < $1.key }) {
            writes.append(.put(.state, key: key.digest.bytes, value: value))
        }
        for (digest, bytes) in chain.state.nodes.sorted(by: { $0.key < $1.key }) {
            writes.append(.put(.nodes, key: digest.bytes, value: bytes))
        }
        writes.append(.put(.meta, key: MetaKey.genesis, value: network.bytes))
        persist(writes)
    }
}
