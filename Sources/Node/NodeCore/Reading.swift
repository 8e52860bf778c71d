// What the API shows of the node, read on its loop. Nothing here changes anything.

package import Datanets
package import Ledger
package import Primitives
package import Records
import Sequencing

extension Node {
    /// Votes the tip's committee would count as this peer's.
    package var ownSeats: UInt64 { committee.members.first { $0.account == account }?.seats ?? 0 }

    package var isStalled: Bool { if case .stalled = chain.status { true } else { false } }

    package func allowance(_ id: AllowanceID) -> Allowance? { chain.allowance(id) }

    package var chainRecord: ChainRecord? {
        var overlay = Overlay(chain.state)
        return try? overlay.chain()
    }

    package func candidate(_ account: AccountID) -> CandidateRecord? {
        var overlay = Overlay(chain.state)
        return (try? overlay.candidate(account)) ?? nil
    }

    /// What the allowances that this account opened still hold.
    package func locked(of account: AccountID) -> Amount {
        var sum = Amount.zero
        // A value's map begins with its kind (the shortest key comes first), so that others are passed over undecoded.
        let beginning = Array(CBOR.map(["kind": .text("allowance")]).encoded().dropFirst())
        for bytes in chain.state.values.values where bytes.dropFirst().starts(with: beginning) {
            guard case .allowance(let allowance) = try? StateValue(decoding: bytes), allowance.payer == account,
                let left = try? allowance.limit.subtracting(allowance.settled), let more = try? sum.adding(left)
            else { continue }
            sum = more
        }
        return sum
    }

    /// The newest announcement of a datanet.
    package func datanetEntry(_ id: DatanetID) -> CatalogEntry? {
        catalog.all(.datanet).filter { $0.subject == id.digest }.max { $0.revision < $1.revision }
    }
}
