--- A bank account: money goes in and out, never more out than in, and at last the account is closed.
--
-- `evolve` and `decide` are tables of functions: one for each type of event, one for each type of command. Money is an
-- integer, in cents, because floats lose cents. Old events are brought up to date by `upcast`. Shapes say what
-- data looks like, an invariant what is always true.

local moonfold = require "moonfold"

local function money(cents)
  local sign = cents < 0 and "-" or ""
  cents = math.abs(cents)
  return ("%s%d.%02d"):format(sign, cents // 100, cents % 100)
end

--- The amount that a command names.
local function amount(command)
  local cents = command.data.cents
  if cents <= 0 then moonfold.reject("invalid_amount", "an amount is more than none", { cents = cents }) end
  return cents
end

local function must_be_open(account)
  if account.closed then moonfold.reject("account_closed", "the account is closed") end
end

local evolve = {}

-- A handler that returns nothing has changed the state that it was given.

function evolve.MoneyDeposited(account, event)
  account.balance = account.balance + event.data.cents
end

function evolve.MoneyWithdrawn(account, event)
  account.balance = account.balance - event.data.cents
end

function evolve.AccountClosed(account)
  account.closed = true
end

local decide = {}

function decide.Deposit(command, account)
  must_be_open(account)
  return moonfold.event("MoneyDeposited", { cents = amount(command) })
end

--- A refusal has a reason for programs, a sentence for people, and details for whoever can do something about it.
function decide.Withdraw(command, account)
  must_be_open(account)
  local cents = amount(command)
  if cents > account.balance then
    local message = ("%s cannot be withdrawn: the balance is %s"):format(money(cents), money(account.balance))
    moonfold.reject("insufficient_funds", message, { missing = cents - account.balance })
  end
  return moonfold.event("MoneyWithdrawn", { cents = cents })
end

--- What is left is paid out: one decision, two events. Closing a closed account again changes nothing.
function decide.Close(_, account)
  if account.closed then return nil end
  local closed = moonfold.event("AccountClosed")
  if account.balance == 0 then return closed end
  return { moonfold.event("MoneyWithdrawn", { cents = account.balance }), closed }
end

local upcast = {}

--- Until version 2 amounts were recorded as { euros = 12.5 }. Events cannot be changed, but they can be read as if.
local function euros_to_cents(event)
  local euros = event.data.euros
  if euros then event.data = { cents = math.floor(euros * 100 + 0.5) } end
  return event
end

upcast.MoneyDeposited = euros_to_cents
upcast.MoneyWithdrawn = euros_to_cents

--- An event may change its type, too.
function upcast.AccountTerminated()
  return moonfold.event("AccountClosed")
end

return {
  name = "account",
  category = "account",
  initial_state = { balance = 0, closed = false },
  evolve = evolve,
  decide = decide,
  upcast = upcast,

  -- What data looks like: that cents are integers need not be asked above. Old events have it after upcast.
  commands = { Deposit = { cents = "integer" }, Withdraw = { cents = "integer" }, Close = {} },
  events = { MoneyDeposited = { cents = "integer" }, MoneyWithdrawn = { cents = "integer" }, AccountClosed = {} },

  --- What is true of every account. Specs ask after every event.
  invariant = function(account)
    return account.balance >= 0, "the balance is negative"
  end,
}
