// The genesis of a home that joins nobody, and of a devnet: the same rules, money marked by the network's name.

import Foundation
package import Ledger
package import Primitives
package import Records

package enum LocalNetwork {
    /// Marks money that is worth nothing elsewhere.
    package static let name = "local"
    package static let total = Amount(baseUnits: Amount.one.baseUnits * 1_000_000)
    package static let stake = Amount(baseUnits: Amount.one.baseUnits * 1_000)
    package static let faucetAmount = Amount(baseUnits: Amount.one.baseUnits * 100)

    /// A network of one: its owner is the committee, the faucet, and has all the money.
    package static func genesis(
        owner key: SigningKey, assets: [(CID, FolderManifest)], at time: WallTime
    ) throws -> Genesis {
        try genesis(name: name, members: [key.publicKey], faucet: key.publicKey.account, assets: assets, at: time)
    }

    /// - Parameter members: each gets the same stake, one seat (or 16 of 64 with four) and some money; the first owns the assets.
    package static func genesis(
        name: String, members: [PublicKey], faucet: AccountID, assets: [(CID, FolderManifest)], at time: WallTime
    ) throws -> Genesis {
        let each = Amount(baseUnits: total.baseUnits / UInt128(members.count + 1))
        var balances: [AccountID: Amount] = [:]
        for member in members { balances[member.account] = each }
        balances[faucet] = try (balances[faucet] ?? .zero).adding(each)
        // Below four members the first stands alone: three could not lose one.
        let seated = members.count >= 4 ? members.count : 1
        let candidates = members.enumerated().map { index, key in
            Genesis.Candidate(account: key.account, key: key, stake: stake, seats: index < min(seated, 64) ? 1 : 0)
        }
        guard let owner = members.first?.account else { throw HomeFault.genesis("a network needs a member") }
        return try Genesis(
            name: name, time: time, balances: balances.map { Genesis.Balance(account: $0.key, amount: $0.value) },
            candidates: candidates,
            assets: assets.map { cid, manifest in
                Genesis.Asset(cid: cid, kind: manifest.kind == .model ? .model : .adapter, owner: owner)
            }, faucet: Genesis.Faucet(account: faucet, amount: faucetAmount), parameters: .standard)
    }
}

/// The folder that a fresh home begins with.
package struct Starter: Sendable {
    package static let name = "starter"

    package let model: String
    package let adapters: [(name: String, path: String)]
    package let datanets: [(name: String, path: String)]

    /// `OPENLEDGER_STARTER`, a `starter` folder beside the program, or Bootstrap/starter of the source tree.
    package static func find(_ given: String?) -> Starter? {
        let files = FileManager.default
        var candidates = [given, ProcessInfo.processInfo.environment["OPENLEDGER_STARTER"]].compactMap { $0 }
        if let program = Bundle.main.executablePath {
            var folder = URL(fileURLWithPath: program).resolvingSymlinksInPath().deletingLastPathComponent()
            candidates.append(folder.appendingPathComponent("starter").path)
            for _ in 0..<6 {
                candidates.append(folder.appendingPathComponent("Bootstrap/starter").path)
                folder = folder.deletingLastPathComponent()
            }
        }
        guard let root = candidates.first(where: { files.fileExists(atPath: "\($0)/model/config.json") }) else {
            return nil
        }
        func folders(_ kind: String) -> [(String, String)] {
            ((try? files.contentsOfDirectory(atPath: "\(root)/\(kind)")) ?? []).sorted()
                .filter { files.fileExists(atPath: "\(root)/\(kind)/\($0)/adapter_config.json") }
                .map { ($0, "\(root)/\(kind)/\($0)") }
        }
        let datanets = ((try? files.contentsOfDirectory(atPath: "\(root)/datanets")) ?? []).sorted()
            .filter { $0.hasSuffix(".jsonl") && !$0.hasSuffix(".eval.jsonl") }
            .map { (String($0.dropLast(6)), "\(root)/datanets/\($0)") }
        return Starter(model: "\(root)/model", adapters: folders("adapters"), datanets: datanets)
    }
}
