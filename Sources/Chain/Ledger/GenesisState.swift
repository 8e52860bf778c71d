// The state and the header that a genesis stands for: height 0, certified by nobody, known to all who know the network.

import Primitives

extension Genesis {
    /// Candidates of the genesis prove liveness from epoch 1 on like all others; until then they count as live.
    static let liveThrough: UInt64 = 2

    /// Writes the initial state over nothing.
    package func transition() throws(BatchFault) -> Transition {
        let beacon = Digest(sha256Of: [Array("openledger/1/beacon\n".utf8), network.bytes])
        let chain = ChainRecord(
            height: 0, epoch: 0, epochEnd: parameters.epochLength, time: time, beacon: beacon, supply: Supply(),
            pot: .zero, total: total, faucet: faucet)
        var execution = Execution(
            state: Overlay(MemoryState()), chain: chain, parameters: parameters, network: network)
        do {
            for balance in balances {
                try execution.give(balance.account, balance.amount, .genesis, network.digest)
            }
            for candidate in candidates {
                try execution.update(candidate.account) { $0.staked = candidate.stake }
                execution.chain.supply.staked = try execution.chain.supply.staked.adding(candidate.stake)
                execution.state.set(
                    .candidate(candidate.account),
                    .candidate(CandidateRecord(key: candidate.key, eligibleFrom: 0, liveThrough: Self.liveThrough)))
            }
            execution.state.set(.candidates, .candidates(candidates.map(\.account)))
            for asset in assets { execution.state.set(.asset(asset.cid), .asset(asset.kind, owner: asset.owner)) }
            execution.state.set(.parameters, .parameters(parameters))
            execution.state.set(.committee, .committee(committee))
            return try execution.seal(
                on: MemoryState(), epoch: 0, committee: committee, next: nil, receiptsRoot: MerkleTree.root(of: []),
                transactionsRoot: MerkleTree.root(of: []), transactionCount: 0)
        } catch let fault as BatchFault {
            throw fault
        } catch let fault as StateFault {
            throw .state(fault)
        } catch {
            throw .overflow
        }
    }

    /// The header at height 0. Its proposer is the committee's first member, for want of another.
    package func header(_ transition: Transition) -> Header {
        transition.header(
            network: network, view: 0, parent: .zero, proposer: committee.members[0].account, beaconProof: nil)
    }
}
