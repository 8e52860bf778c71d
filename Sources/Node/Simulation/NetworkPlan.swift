// The network that a seed founds: who has money, who is in the committee, who dials whom, and what an answer costs.

import Ledger
import NodeCore
import Primitives
import Sequencing

struct NetworkPlan {
    let genesis: Genesis
    private let keys: [SigningKey]
    private let members: Int

    /// Chosen so that an answer of a few tokens reaches the exposure cap (a tenth of an OPEN).
    static let price = PriceSchedule(
        request: Amount(baseUnits: 1_000_000_000_000_000), promptToken: Amount(baseUnits: 100_000_000_000_000),
        answerToken: Amount(baseUnits: 20_000_000_000_000_000))
    static let priceMax = Amount.one
    private static let balance = Amount(baseUnits: 1_000 * 1_000_000_000_000_000_000)
    private static let feeMoney = Amount(baseUnits: 500_000_000_000_000_000)
    private static let faucetAmount = Amount(baseUnits: 100 * 1_000_000_000_000_000_000)
    private static let stake = Amount(baseUnits: 10 * 1_000_000_000_000_000_000)

    init(peers: Int, isSafe: Bool, random: inout SeededRandom) throws(SimulationFault) {
        func key(_ name: String) throws(SimulationFault) -> SigningKey {
            do {
                return try SigningKey(seed: Digest(sha256: Array("openledger simulation \(name)".utf8)).bytes)
            } catch {
                throw .genesis("\(error)")
            }
        }
        var keys: [SigningKey] = []
        for index in 0..<peers { keys.append(try key("peer \(index)")) }
        let faucet = try key("faucet").publicKey.account
        // Below four there is a committee of one; a third and more must be honest.
        members = peers < 4 ? 1 : peers > 6 && random.below(2) == 0 ? 7 : 4
        // The last has enough for fees and goes to the faucet.
        var balances = [Genesis.Balance(account: faucet, amount: Self.balance)]
        for (index, key) in keys.enumerated() {
            let amount = index == 0 || index < peers - 1 ? Self.balance : Self.feeMoney
            balances.append(Genesis.Balance(account: key.publicKey.account, amount: amount))
        }
        let candidates = keys.prefix(members).map {
            Genesis.Candidate(account: $0.publicKey.account, key: $0.publicKey, stake: Self.stake, seats: 1)
        }
        var parameters = Parameters.standard
        // An election may give a liar a third of the seats or more, and then nothing is promised.
        let epochLength = 6 + random.below(30)
        parameters.epochLength = isSafe ? epochLength : 1_000_000
        do {
            genesis = try Genesis(
                name: "simulation", time: WallTime(milliseconds: SimulatedWorld.wallStart - 1000), balances: balances,
                candidates: candidates, faucet: Genesis.Faucet(account: faucet, amount: Self.faucetAmount),
                parameters: parameters)
        } catch {
            throw .genesis("\(error)")
        }
        self.keys = keys
    }

    func configuration(_ index: Int, seed: UInt64) -> NodeConfiguration {
        var configuration = NodeConfiguration(
            key: keys[index], genesis: genesis, price: Self.price,
            allowanceLimit: Amount(baseUnits: 5 * 1_000_000_000_000_000_000), allowanceHeights: 100_000,
            boot: dialled(index).map(address), seed: seed, firstSequence: 1)
        configuration.consensus.leaderTimeout = .seconds(1)
        configuration.consensus.leaderTimeoutMax = .seconds(8)
        configuration.consensus.heartbeat = .seconds(10)
        configuration.consensus.batchIntervalMin = .milliseconds(400)
        // Nearly always, so that a short run sees some.
        configuration.audits.share = 900_000
        configuration.audits.opens = true
        configuration.audits.ownPerHourMax = 1_000
        configuration.audits.servedPerHourMax = 1_000
        return configuration
    }

    /// Members reach every member; the others two of them and the one before.
    private func dialled(_ index: Int) -> [Int] {
        index < members
            ? Array(0..<index) : Array(Set([index % members, (index * 5 + 1) % members, index - 1])).sorted()
    }

    private func address(_ index: Int) -> Multiaddr {
        Multiaddr([.ip4([10, 0, 0, UInt8(index + 1)]), .tcp(4001), .peer(keys[index].publicKey.peerID)])
    }
}
