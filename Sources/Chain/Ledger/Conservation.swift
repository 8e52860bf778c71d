// free + locked + staked + treasury + bridged + burned = genesis, to the last unit. The transition keeps these sums as it
// goes; this walks the whole state instead and adds up what is really there. The simulator and the tests call it.

package import Primitives

package enum ConservationFault: Error, Hashable, Sendable {
    case state(StateFault)
    case overflow
    /// What the accounts and allowances hold is not what the chain's record says.
    case differs(found: Supply, recorded: Supply)
    /// The parts do not add up to the genesis total.
    case total(found: Amount, genesis: Amount)
}

/// Adds up all money in the state, by walking its tree from the root and reading every value against its hash.
/// - Returns: where the money is.
package func conservation(of reader: any StateReader) throws(ConservationFault) -> Supply {
    do {
        var found = Supply()
        var record: ChainRecord?
        for (key, digest) in try SparseMerkleTree.entries(root: reader.stateRoot, reader: reader) {
            guard let bytes = try reader.value(key) else { throw StateFault.missingValue(key) }
            guard Digest(sha256: bytes) == digest, let value = try? StateValue(decoding: bytes) else {
                throw StateFault.damagedValue(key)
            }
            switch value {
            case .account(let account):
                found.free = try found.free.adding(account.free)
                found.staked = try found.staked.adding(account.staked)
                for unbonding in account.unbonding { found.staked = try found.staked.adding(unbonding.amount) }
            case .allowance(let allowance):
                found.locked = try found.locked.adding(allowance.limit.subtracting(allowance.settled))
            case .chain(let chain): record = chain
            case .candidate, .candidates, .asset, .parameters, .committee, .evidence: break
            }
        }
        guard let record else { throw StateFault.missingValue(.chain) }
        found.locked = try found.locked.adding(record.pot)
        found.treasury = record.supply.treasury
        found.bridged = record.supply.bridged
        found.burned = record.supply.burned
        guard found == record.supply else { throw ConservationFault.differs(found: found, recorded: record.supply) }
        let total = try found.total()
        guard total == record.total else { throw ConservationFault.total(found: total, genesis: record.total) }
        return found
    } catch let fault as ConservationFault {
        throw fault
    } catch let fault as StateFault {
        throw .state(fault)
    } catch {
        throw .overflow
    }
}
