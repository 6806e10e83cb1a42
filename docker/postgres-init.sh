#!/bin/bash
# Runs once, on an empty data folder: a database and a user for each of Airflow, MLflow and the ledger.
set -euo pipefail

make_database() {
  psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set=name="$1" --set=password="$2" <<'SQL'
CREATE USER :"name" WITH PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
}

make_database airflow "$AIRFLOW_DB_PASSWORD"
make_database mlflow "$MLFLOW_DB_PASSWORD"
make_database packshot "$PACKSHOT_DB_PASSWORD"
