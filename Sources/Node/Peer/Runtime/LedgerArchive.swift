// A home that leaves its local network for another: the old ledger is put aside, keys and content stay. Whatever moment it
// is interrupted at, the next start finishes it before anything reads the tables.
//
//   joining.cbor written ──▶ archive/HASH/{genesis,ledger}.cbor ──▶ tables emptied ──▶ joining.cbor becomes genesis.cbor

import Foundation
package import Ledger
import NodeCore
package import Primitives
package import Storage

package enum LedgerArchive {
    private static let pageRows = 1000

    package static func folder(_ home: Home, _ network: NetworkID) -> String { "\(home.path)/archive/\(network.text)" }

    private static func joiningPath(_ home: Home) -> String { "\(home.path)/joining.cbor" }

    /// Notes that `home` goes over to `next`, then does it.
    package static func join(_ next: Genesis, _ home: Home, _ store: Store) throws {
        try Home.writeWhole(next.encoded(), to: joiningPath(home))
        try finish(home, store)
    }

    /// Finishes what an earlier run began; nothing to do in most.
    package static func finish(_ home: Home, _ store: Store) throws {
        let joining = joiningPath(home)
        guard FileManager.default.fileExists(atPath: joining) else { return }
        let next = try Home.readGenesis(joining)
        if let old = try home.genesis(), old.network != next.network {
            try archive(old, home, store)
            try empty(store)
        }
        try Home.move(joining, to: home.genesisPath)
    }

    private static func archive(_ old: Genesis, _ home: Home, _ store: Store) throws {
        let folder = folder(home, old.network)
        let ledger = "\(folder)/ledger.cbor"
        guard !FileManager.default.fileExists(atPath: ledger) else { return }
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try Home.writeWhole(old.encoded(), to: "\(folder)/genesis.cbor")
        let partial = "\(ledger).partial"
        unlink(partial)
        try Home.writeNew([], to: partial)
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: partial))
        defer { try? file.close() }
        // A CBOR sequence (RFC 8742): [table, key, value], as the tables have them.
        for table in NodeTable.allCases {
            try pages(table, store) { rows in
                var bytes: [UInt8] = []
                for row in rows {
                    bytes += CBOR.array([.text(table.rawValue), .bytes(row.key), .bytes(row.value)]).encoded()
                }
                try file.write(contentsOf: Data(bytes))
            }
        }
        try file.synchronize()
        try Home.move(partial, to: ledger)
    }

    private static func empty(_ store: Store) throws {
        for table in NodeTable.allCases {
            try pages(table, store) { rows in
                let gone = rows.filter { table != .meta || !$0.key.starts(with: MetaKey.contentPrefix) }
                try store.write(gone.map { StoreWrite(table: table.id, key: $0.key, value: nil) })
            }
        }
    }

    private static func pages(
        _ table: NodeTable, _ store: Store, _ body: ([(key: [UInt8], value: [UInt8])]) throws -> Void
    ) throws {
        var scan: Scan? = Scan(table.id, prefix: [], limit: pageRows)
        while let current = scan {
            let page = try store.scan(current)
            if !page.entries.isEmpty { try body(page.entries.map { ($0.key, $0.value) }) }
            scan = current.continued(after: page)
        }
    }
}
